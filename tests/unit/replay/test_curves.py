import numpy as np
import pytest

from pipeline.replay.curves import Curve, above, everyone, interval, resampled
from pipeline.router.observed import Tried

# Two settings: right on half the queries for 1, on all for 3.
CURVE = Curve(correct=np.array([[1.0, 0.0] * 50, [1.0] * 100]), cost=np.array([[1.0] * 100, [3.0] * 100]))
ONCE = everyone(100)


@pytest.mark.parametrize(
    ("accuracy", "cost"), [(0.4, 1.0), (0.5, 1.0), (0.75, 2.0), (1.0, 3.0), (1.1, np.inf)]
)
def test_between_two_settings_cost_is_on_the_line(accuracy: float, cost: float) -> None:
    assert CURVE.cost_at(np.array([accuracy]), ONCE)[0] == pytest.approx(cost)


@pytest.mark.parametrize(("cost", "accuracy"), [(0.9, -np.inf), (1.0, 0.5), (2.0, 0.75), (9.0, 1.0)])
def test_accuracy_at_a_cost_is_read_off_the_same_line(cost: float, accuracy: float) -> None:
    assert CURVE.accuracy_at(np.array([cost]), ONCE)[0] == pytest.approx(accuracy)


@pytest.mark.parametrize(("cost", "sure"), [(2.5, 1.0), (1.2, 0.0)])
def test_above_is_cheaper_at_the_baselines_own_accuracy(cost: float, sure: float) -> None:
    baseline = Tried(
        correct=np.array([1.0, 0.5] * 50), cost=np.full(100, cost), calls=np.ones(100)
    )  # ours: 2 at that accuracy
    assert above(CURVE, baseline, resampled(np.arange(100), draws=200)) == pytest.approx(sure, abs=0.05)


def test_clusters_are_drawn_whole() -> None:
    weights = resampled(np.array([0, 0, 1, 2]), draws=50)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.array_equal(weights[:, 0], weights[:, 1])


def test_the_middle_of_the_draws() -> None:
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
