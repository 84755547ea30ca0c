from collections.abc import Callable

import numpy as np
import pytest

from pipeline.router.choosing import Fitted, cross_fitted, together
from pipeline.router.ladders import fit_cascade, fit_escalation, fit_fusion, fit_three_model, fit_two_model
from pipeline.router.observed import Observed, Tried
from pipeline.router.rules import Cascade
from tests.unit.router.rows import confident, observed


def test_a_cascade_is_found_that_costs_less_at_the_same_accuracy() -> None:
    # Given a cheap model whose confidence is true, and a dear one that is right at .95
    train, test = confident(2000), confident(4000, seed=1)
    fitted = fit_two_model(train)
    # When 97 % of the dear one's accuracy is asked for
    rule = fitted.rules[fitted.at_target(0.97, train.correct[:, 1])]  # type: ignore[index]
    tried = rule.run(test)
    # Then the cheap one is asked first and some of its answers stand
    assert rule.models == (0, 1)
    assert tried.correct.mean() >= 0.97 * test.correct[:, 1].mean() - 0.01
    assert tried.cost.mean() < 0.95 * 5e-3


def test_the_margin_keeps_luck_out() -> None:
    # Given rules that are all as good as the reference but for luck
    rng = np.random.default_rng(0)
    correct = (rng.uniform(size=(200, 100)) < 0.8).astype(float)
    cost = np.tile(np.linspace(1, 2, 200)[:, None], (1, 100))
    fitted = Fitted([Cascade((0,))] * 200, correct, cost)
    reference = (rng.uniform(size=100) < 0.8).astype(float)
    without, within = (
        fitted.at_target(1.0, reference, margin=0.0),
        fitted.at_target(1.0, reference, margin=2.0),
    )
    # Then the cheapest that looks good enough is taken only where no margin is asked for
    assert without is not None
    assert within is None or within > without


def test_a_target_that_nothing_reaches_is_none() -> None:
    rows = observed(correct=[[0, 1]] * 50, cost=[1.0, 2.0])
    assert fit_two_model(rows).at_target(1.2, rows.correct[:, 1]) is None


@pytest.mark.parametrize(("usd", "models"), [(1e-6, (0,)), (100.0, (0, 1))])
def test_the_price_of_a_right_answer_decides(usd: float, models: tuple[int, ...]) -> None:
    fitted = fit_two_model(confident(2000))
    [number] = fitted.at_prices(np.array([usd]))
    assert fitted.rules[number].models == models


def three_models(count: int, seed: int = 0) -> Observed:
    rows = confident(count, seed)
    return observed(
        correct=np.column_stack([rows.correct, rows.correct[:, 1]]),
        cost=[1e-4, 5e-3, 6e-3],
        score=np.column_stack([rows.score, rows.score[:, 1]]).tolist(),
    )


@pytest.mark.parametrize("fit", [fit_two_model, fit_three_model])
def test_candidates_are_worth_what_running_them_says(fit: Callable[[Observed], Fitted]) -> None:
    rows = three_models(300)
    fitted = fit(rows)
    for number in range(0, len(fitted.rules), 17):
        tried = fitted.rules[number].run(rows)
        assert np.array_equal(tried.correct, fitted.correct[number])
        assert np.allclose(tried.cost, fitted.cost[number])


@pytest.mark.parametrize("fit", [fit_cascade, fit_escalation, fit_fusion])
def test_learned_candidates_are_judged_nearly_as_they_will_do(fit: Callable[[Observed], Fitted]) -> None:
    # Given candidates judged on cross-fitted scores, When they are run on other rows of the same kind
    fitted = fit(confident(3000))
    other = confident(4000, seed=1)
    for number in range(0, len(fitted.rules), 3):
        tried = fitted.rules[number].run(other)
        # Then they do as they were judged to do
        assert tried.correct.mean() == pytest.approx(fitted.correct[number].mean(), abs=0.03)
        assert tried.cost.mean() == pytest.approx(fitted.cost[number].mean(), abs=4e-4)


def test_audited_rows_change_the_choice() -> None:
    # Given fitting rows on which the cheap model is as good as the dear one, and audited ones where it fails
    fitting = observed(correct=[[1, 1]] * 40, cost=[1.0, 2.0])
    audited = observed(correct=[[0, 1]] * 40, cost=[1.0, 2.0])
    fitted = fit_two_model(fitting)
    before = fitted.at_target(0.95, fitting.correct[:, 1])
    # When the audited rows are seen too
    seen = fitted.seen_on(audited)
    after = seen.at_target(0.95, np.ones(80))
    # Then the dear one is chosen
    assert before is not None
    assert after is not None
    assert (fitted.rules[before].models, seen.rules[after].models) == ((0,), (1,))


def test_together_the_cheapest_of_all_candidates_wins() -> None:
    one, other = (Fitted([Cascade((n,))], np.ones((1, 9)), np.full((1, 9), 2.0 - n)) for n in (0, 1))
    both = together([one, other])
    assert both.rules[both.at_target(1.0, np.ones(9)) or 0].models == (1,)


def test_cross_fitting_judges_no_row_by_a_rule_that_saw_it() -> None:
    rows = observed(correct=[[1, 0]] * 40, cost=[1.0, 2.0], features=np.arange(80.0).reshape(40, 2))
    seen: list[set[float]] = []

    class Spy:
        models = (0,)

        def __init__(self, knows: set[float]) -> None:
            self.knows = knows

        def run(self, rows: Observed) -> Tried:
            assert not self.knows & set(rows.features[:, 0])
            seen.append(set(rows.features[:, 0]))
            return Cascade((0,)).run(rows)

    cross_fitted(lambda known: [Spy(set(known.features[:, 0]))], rows)
    assert set().union(*seen) == set(rows.features[:, 0])
