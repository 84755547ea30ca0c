"""What plans are expected to get and cost, and the price of money that chooses among them."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.router.linear import Linear, Table
from pipeline.router.outlook import Outlook
from pipeline.router.planner import Expected, expect, paths_over
from pipeline.router.pricing import Sampled, price_for_money, price_for_quality

LIKELY = np.array([[0.6, 0.8, 0.9]], dtype=np.float32)
USD = np.array([[1.0, 10.0, 100.0]])
PASSING = np.array([[0.2, 0.7], [0.3, 0.9], [0.0, 0.5]])


def outlook(harder: float = -0.1) -> Outlook:
    return Outlook(
        learned=Linear(np.zeros((3, 2), dtype=np.float32), np.zeros((3, 2, 2), dtype=np.float32)),
        suited=Table(np.ones((1, 3)), np.ones((1, 3))),
        known=np.zeros(1, dtype=np.bool_),
        harder=np.full((3, 3), harder),
        passing=PASSING,
        voices=np.tile([0.0, 1.0], (3, 1)),
        usd=np.zeros((3, 2)),
        latency_ms=np.zeros((3, 2)),
    )


def test_paths_are_all_ways_up_and_the_ladder_last() -> None:
    assert paths_over([0, 1, 2]) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    assert paths_over([1]) == [(1,)]
    assert paths_over([]) == [()]
    assert len(paths_over(range(5))) == len(set(paths_over(range(5)))) == 5 + 10 + 10 + 1
    assert paths_over(range(5), 1) == [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)]


def test_a_plan_gets_what_a_simulation_of_it_gets() -> None:
    # Given tiers whose judges err as stated, and queries that are harder once a tier has left them
    random = np.random.default_rng(1)
    paths = paths_over([0, 1, 2])
    expected = expect(outlook(), paths, LIKELY, USD)
    for number, path in enumerate(paths):
        # When many such queries walk the plan
        count = 200_000
        right, spent, here = np.zeros(count), np.zeros(count), np.ones(count, dtype=bool)
        for position, tier in enumerate(path):
            spent[here] += USD[0, tier]
            correct = random.random(count) < LIKELY[0, tier] - 0.1 * position
            passes = random.random(count) < PASSING[tier, correct.astype(int)]
            stays = here & (passes | (position == len(path) - 1))
            right[stays] = correct[stays]
            here &= ~stays
        # Then they get and cost what was expected
        assert expected.correct[0, number] == pytest.approx(right.mean(), abs=0.005)
        assert expected.usd[0, number] == pytest.approx(spent.mean(), rel=0.02)


def test_money_chooses_between_the_surest_and_the_cheapest_plan() -> None:
    paths = paths_over([0, 1, 2])
    expected = expect(outlook(), paths, LIKELY, USD)
    surest, cheapest = expected.best(0.0)[0], expected.best(1e9)[0]
    assert expected.correct[0, surest] == expected.correct.max()
    assert paths[cheapest] == (0,)


def test_a_new_price_needs_no_relearning() -> None:
    paths = paths_over([0, 1, 2])
    before = expect(outlook(), paths, LIKELY, USD).best(0.01)[0]
    after = expect(outlook(), paths, LIKELY, USD / [[1.0, 1.0, 1000.0]]).best(0.01)[0]
    assert paths[before] == (0, 1)
    assert paths[after] == (2,)


def sampled(
    correct: list[list[float]],
    usd: list[list[float]],
    ladder: list[float],
    noise: float = 0.0,
    most_usd: float = 1e9,
) -> Sampled:
    random = np.random.default_rng(1)
    likely = np.array(correct)
    drawn = [likely + noise * random.standard_normal(likely.shape[1]) for _ in range(16)]
    return Sampled([Expected(likely, np.array(usd))], np.array(usd), drawn, [np.array(ladder)] * 16, most_usd)


def test_the_price_of_money_rises_until_quality_would_fall() -> None:
    # Given two queries: the first needs its dear plan, the second does not
    group = sampled([[0.5, 0.9], [0.9, 0.9]], [[1.0, 10.0]] * 2, [0.9, 0.9])
    # When money is priced by the ladder's quality
    price = price_for_quality([group])
    # Then plans are the cheapest that reach it
    assert group.chosen(price)[0].tolist() == [1, 0]
    # And where the ladder is no better than the cheapest plan, the cheapest it is
    easy = sampled([[0.5, 0.9]], [[1.0, 10.0]], [0.4])
    assert easy.chosen(price_for_quality([easy]))[0].tolist() == [0]


def test_what_is_not_known_yet_keeps_the_price_down() -> None:
    known = sampled([[0.9, 0.905]] * 50, [[1.0, 10.0]] * 50, [0.895] * 50)
    open_ = sampled([[0.9, 0.905]] * 50, [[1.0, 10.0]] * 50, [0.895] * 50, noise=0.1)
    assert known.chosen(price_for_quality([known]))[0][0] == 0
    assert price_for_quality([open_]) == 0.0


def test_plans_never_cost_more_than_the_ladder() -> None:
    # Given a plan that is surer than the ladder and dearer
    group = sampled([[0.7, 0.9]] * 2, [[1.0, 10.0]] * 2, [0.8, 0.8], most_usd=12.0)
    assert group.usd(price_for_quality([group])) <= 12.0


def test_a_policy_that_hopes_for_too_much_pays_a_higher_price() -> None:
    # Given a policy that takes the dear plan for surer than it is
    sober = sampled([[0.7, 0.8]] * 2, [[1.0, 10.0]] * 2, [0.7, 0.7], most_usd=12.0)
    hopeful = replace(sober, taken=[Expected(np.array([[0.7, 0.99]] * 2), np.array([[1.0, 5.0]] * 2))])
    # When money is priced
    prices = [price_for_quality([each]) for each in (sober, hopeful)]
    # Then both stay within what the ladder costs, the hopeful one at a higher price
    assert all(each.usd(price) <= 12.0 for each, price in zip((sober, hopeful), prices, strict=True))
    assert prices[1] > prices[0]


def test_the_price_of_money_rises_until_the_money_suffices() -> None:
    group = sampled([[0.5, 0.9], [0.5, 0.6]], [[1.0, 10.0]] * 2, [0.9, 0.9])
    assert price_for_money([group], 20.0) == 0.0
    assert group.chosen(price_for_money([group], 19.0))[0].tolist() == [1, 0]
    assert group.chosen(price_for_money([group], 2.0))[0].tolist() == [0, 0]


def test_nothing_seen_has_no_price() -> None:
    assert price_for_quality([]) == 0.0
    assert price_for_money([], 0.0) == 0.0


def test_the_cost_of_a_tier_is_never_below_nothing() -> None:
    cheap = replace(outlook(), usd=np.array([[-1.0, 0.0]] * 3))
    assert (cheap.cost(np.ones((2, 2), dtype=np.float32)) == 0).all()
