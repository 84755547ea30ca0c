import numpy as np
import pytest

from pipeline.certify.estimate import FEWEST, estimate, estimate_each


def coverage(population: int, share: float, graded: int) -> tuple[float, float, float]:
    """How often the interval holds the truth, its width, and its width without predictions."""
    random = np.random.default_rng(6)
    predicted = random.beta(share * 6, (1 - share) * 6, population)
    agrees = random.random(population) < predicted
    held, widths, plain = [], [], []
    for _ in range(600):
        rows = random.permutation(population)[:graded]
        found = estimate(float(predicted.mean()), population, predicted[rows], agrees[rows])
        flat = estimate(share, population, np.full(graded, share), agrees[rows])
        assert found is not None
        assert flat is not None
        held.append(found.low <= agrees.mean() <= found.high)
        widths.append(found.high - found.low)
        plain.append(flat.high - flat.low)
    return float(np.mean(held)), float(np.mean(widths)), float(np.mean(plain))


@pytest.mark.parametrize(
    ("population", "share", "graded"), [(500, 0.7, 30), (3000, 0.9, 100), (500, 0.97, 400), (3000, 0.99, 100)]
)
def test_the_interval_holds_as_often_as_it_says(population: int, share: float, graded: int) -> None:
    held, width, plain = coverage(population, share, graded)
    assert held > 0.93
    assert width <= plain


def test_good_predictions_narrow_it() -> None:
    _, width, plain = coverage(3000, 0.7, 100)
    assert width < 0.95 * plain


def test_what_is_graded_whole_is_known() -> None:
    agrees = np.array([True] * 15 + [False] * 5)
    found = estimate(0.5, 20, np.full(20, 0.5), agrees)
    assert found is not None
    assert (found.share, found.low, found.high) == (0.75, 0.75, 0.75)


def test_predictions_that_say_nothing_are_not_trusted() -> None:
    random = np.random.default_rng(7)
    agrees = random.random(400) < 0.8
    against = estimate(0.5, 4000, 1 - 0.5 * agrees, agrees)
    constant = estimate(0.1, 4000, np.full(400, 0.1), agrees)
    assert against is not None
    assert constant is not None
    assert against.trust == constant.trust == 0.0
    assert against.share == pytest.approx(agrees.mean(), abs=0.01)


def test_all_agreeing_is_no_certainty() -> None:
    found = estimate(0.9, 1000, np.full(50, 0.9), np.ones(50, dtype=bool))
    assert found is not None
    assert found.low < 0.92 < found.share < 0.97


def test_too_few_rows_estimate_nothing() -> None:
    few = FEWEST - 1
    assert estimate(0.9, 1000, np.full(few, 0.9), np.ones(few, dtype=bool)) is None


def test_each_category_has_its_own() -> None:
    category = ["a"] * 40 + ["b"] * 40 + ["c"] * 3
    agrees = np.array([True] * 40 + [True, False] * 20 + [True] * 3)
    said = np.full(83, 0.8)
    found = estimate_each(
        {"a": 0.8, "b": 0.8, "c": 0.8}, {"a": 400, "b": 300, "c": 9}, category, said, agrees
    )
    assert set(found) == {"a", "b"}
    assert found["a"].low > found["b"].high
    assert (found["b"].graded, found["b"].population) == (40, 300)
