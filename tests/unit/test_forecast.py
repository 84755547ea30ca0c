"""The interval for a job's bill, from what queries of earlier jobs came to."""

import numpy as np
import pytest

from pipeline.forecast import Forecast, Spent, predict
from schemas.ids import Nano


def spent(cost: object, *, size: object = 100.0, jobs: int = 1) -> Spent:
    nano = np.asarray(cost, dtype=float)
    return Spent(
        job=np.arange(len(nano)) % jobs,
        bytes=np.broadcast_to(np.asarray(size, dtype=float), nano.shape),
        nano=nano,
    )


def test_equal_costs_leave_no_doubt() -> None:
    said = predict(spent(np.full(60, 7.0)), count=1000, mean_bytes=100)
    assert (said.low, said.expected, said.high) == (7000, 7000, 7000)
    assert said.queries == 60


def test_longer_documents_cost_more() -> None:
    # Given costs of 3 and 2 more a byte; then documents of 500 bytes are forecast on that line
    size = np.linspace(10, 200, 80)
    said = predict(spent(3 + 2 * size, size=size), count=10, mean_bytes=500)
    assert said.expected == 10 * 1003
    assert said.high - said.low <= 1


def test_nothing_to_ask_costs_nothing() -> None:
    said = predict(spent(np.arange(50.0)), count=0, mean_bytes=100)
    assert (said.low, said.expected, said.high) == (0, 0, 0)


def test_jobs_that_differ_widen_it() -> None:
    draws = np.random.default_rng(0).normal(100, 10, 400)
    shifted = draws + 50 * (np.arange(400) % 2)
    alike, apart = (predict(spent(each, jobs=2), count=400, mean_bytes=100) for each in (draws, shifted))
    assert apart.high - apart.low > 10 * (alike.high - alike.low)


def test_it_holds_nine_times_in_ten() -> None:
    # Given bills that are mostly small and sometimes large, as escalations make them
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        cost = np.where(draw.random(900) < 0.2, 1000.0, 10.0)
        said = predict(spent(cost[:600]), count=300, mean_bytes=100)
        held += said.holds(Nano(int(cost[600:].sum())))
    assert 0.86 <= held / 400 <= 0.94


@pytest.mark.parametrize(("bill", "held"), [(4, False), (5, True), (9, True), (10, False)])
def test_its_ends_belong_to_it(bill: int, held: bool) -> None:
    said = Forecast(low=Nano(5), expected=Nano(7), high=Nano(9), jobs=1, queries=50)
    assert said.holds(Nano(bill)) is held
