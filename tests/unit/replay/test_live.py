"""Live policies on recorded outcomes."""

import numpy as np
import pytest

from pipeline.replay.live import fit_live
from pipeline.router.policies import SCORINGS
from tests.unit.router.rows import confident, observed


@pytest.mark.parametrize("name", sorted(SCORINGS))
def test_money_buys_accuracy(name: str) -> None:
    # Given a cheap model that is right as often as it says, and a dear one that is nearly always right
    fitted, fresh = fit_live(name, confident(400)), confident(400, seed=1)
    # When a right answer may cost next to nothing, and any price
    poor, rich = fitted.at_prices(np.array([1e-6, 100.0]))
    cheap, dear = fitted.rules[poor].run(fresh), fitted.rules[rich].run(fresh)
    # Then fresh rows are asked of the cheap model alone, or as often right as the dear one is
    assert cheap.cost.mean() == pytest.approx(1e-4)
    assert dear.correct.mean() > 0.92 > cheap.correct.mean() + 0.2
    assert dear.cost.mean() > 10 * cheap.cost.mean()


def test_a_cascade_reaches_the_target_for_less() -> None:
    # Given the same, and a target just below the dear model's accuracy
    rows, fresh = confident(600), confident(600, seed=1)
    fitted = fit_live("epsilon-greedy", rows)
    number = fitted.at_target(0.95, rows.correct[:, 1])
    # Then a rule meets it, on fresh rows too, and the dear model is not asked everything
    assert number is not None
    got = fitted.rules[number].run(fresh)
    assert got.correct.mean() > 0.93 * fresh.correct[:, 1].mean()
    assert got.cost.mean() < 0.95 * fresh.cost[:, 1].mean()


def test_a_category_goes_to_the_model_that_is_right_there() -> None:
    # Given two models, each right in one category alone
    category = np.arange(300) % 2
    right = np.column_stack([category == 0, category == 1]).astype(float)
    rows = observed(right, [1e-4, 2e-4], category=category)
    # Then every query is asked of the one that is right, once
    fitted = fit_live("linucb", rows)
    [number] = fitted.at_prices(np.array([1.0]))
    got = fitted.rules[number].run(rows)
    assert (got.correct.mean(), got.calls.mean()) == (1.0, 1.0)
