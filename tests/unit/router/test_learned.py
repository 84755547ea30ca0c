from dataclasses import replace

import numpy as np

from pipeline.router.learned import fit_learned
from pipeline.router.logistic import fit_logistic, logit, sigmoid
from pipeline.router.metallm import MetaLLM, fit_metallm
from pipeline.router.observed import Observed
from pipeline.router.scorers import LearnedScorer, cross_fit_scorer
from pipeline.router.suitability import fit_suitability
from tests.unit.router.rows import observed


def kinds(count: int, seed: int = 0) -> Observed:
    """Two kinds of query: the cheap model is right on the first kind alone, the dear one always."""
    kind = np.random.default_rng(seed).integers(0, 2, count)
    return observed(
        correct=np.column_stack([kind == 0, np.ones(count)]).astype(float),
        cost=[1e-4, 5e-3],
        features=np.eye(2)[kind],
    )


def test_logistic_regression_finds_the_odds_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(20_000), rng.normal(size=20_000)])
    y = (rng.uniform(size=20_000) < sigmoid(x @ np.array([-0.5, 1.5]))).astype(float)
    assert np.allclose(fit_logistic(x, y, np.zeros(2)), [-0.5, 1.5], atol=0.06)


def test_a_strong_prior_is_kept() -> None:
    x, y = np.ones((10, 1)), np.ones(10)
    assert np.allclose(fit_logistic(x, y, np.array([1e6]), np.array([0.3])), [0.3], atol=1e-3)


def test_log_odds_are_finite_and_keep_what_is_missing() -> None:
    assert logit(np.array([0.0, 1.0])).tolist() == [-12.0, 12.0]
    assert np.isnan(logit(np.array([np.nan]))).all()


def test_each_kind_of_query_goes_to_the_cheapest_model_that_can() -> None:
    train, test = kinds(400), kinds(400, seed=1)
    fitted = fit_learned(train)
    chosen = fitted.at_target(0.99, train.correct[:, 1])
    assert chosen is not None
    tried = fitted.rules[chosen].run(test)
    assert tried.correct.mean() == 1
    assert tried.cost.mean() < 0.6 * 5e-3


def test_the_bandit_learns_from_what_it_chose() -> None:
    # Given a bandit that knows nothing
    rule = MetaLLM(
        np.repeat(np.eye(3)[None], 2, axis=0), np.zeros((2, 3)), weight=0.5, dearest=5e-3, alpha=0.5
    )
    test = kinds(600)
    # When it plays 600 rounds, then in the end it sends each kind where it is cheapest
    pays = rule.run(test).cost[300:] == 5e-3
    hard = test.features[300:, 1] == 1
    assert np.mean(pays == hard) > 0.95


def test_the_bandit_starts_from_what_the_fitting_rows_taught() -> None:
    train, test = kinds(400), kinds(50, seed=1)
    fitted = fit_metallm(train)
    chosen = fitted.at_target(0.99, train.correct[:, 1])
    assert chosen is not None
    assert fitted.rules[chosen].run(test).correct.mean() == 1


def test_a_scorer_learns_which_label_to_believe() -> None:
    # Given a model that is right when it says 0 and never when it says 1
    code = np.random.default_rng(0).integers(0, 2, 300)
    rows = observed(
        correct=np.column_stack([code == 0, np.ones(300)]).astype(float),
        cost=[1.0, 2.0],
        answer=np.column_stack([code, code]).tolist(),
    )
    score = LearnedScorer(rows).score(rows, 0)
    assert score[code == 0].min() > 0.9
    assert score[code == 1].max() < 0.1


def test_a_scorer_learns_from_agreement() -> None:
    # Given two models that are right where they agree
    rng = np.random.default_rng(0)
    same = rng.uniform(size=400) < 0.5
    first = rng.integers(0, 100, 400)
    second = np.where(same, first, first + 100)
    rows = observed(
        correct=np.column_stack([same, same]).astype(float),
        cost=[1.0, 2.0],
        answer=np.column_stack([first, second]).tolist(),
    )
    score = LearnedScorer(rows).score(rows, 1, beside=0)
    assert score[same].min() > 0.9 > 0.1 > score[~same].max()


def test_an_outlook_tells_who_will_be_right_from_what_the_first_one_said() -> None:
    # Given a second model that is right exactly where the first says 1
    code = np.random.default_rng(0).integers(0, 2, 300)
    rows = observed(
        correct=np.column_stack([np.zeros(300), code == 1]).astype(float),
        cost=[1.0, 2.0],
        answer=np.column_stack([code, np.zeros(300, dtype=int)]).tolist(),
    )
    outlook = LearnedScorer(rows).outlook(rows, asked=0, judged=1)
    assert outlook[code == 1].min() > 0.9 > 0.1 > outlook[code == 0].max()


def test_cross_fitted_scores_know_nothing_of_their_own_row() -> None:
    # Given answers that are right by pure chance, with features enough to learn them by heart
    rng = np.random.default_rng(0)
    rows = observed(
        correct=rng.integers(0, 2, (200, 2)).astype(float),
        cost=[1.0, 2.0],
        features=rng.normal(size=(200, 60)),
    )
    whole, held_out = cross_fit_scorer(rows)
    right = rows.correct[:, 0] == 1
    # Then the whole scorer tells right from wrong, and the held-out one does not
    told, not_told = (
        each.score(rows, 0)[right].mean() - each.score(rows, 0)[~right].mean() for each in (whole, held_out)
    )
    assert told > 0.3
    assert abs(not_told) < 0.1


def test_the_taxonomy_alone_sends_each_category_where_it_is_cheapest() -> None:
    # Given categories that tell where the cheap model is right
    train, test = kinds(800), kinds(400, seed=1)
    known, new = (replace(rows, category=rows.features[:, 1].astype(np.intp)) for rows in (train, test))
    fitted = fit_suitability(known)
    chosen = fitted.at_target(0.99, known.correct[:, 1])
    assert chosen is not None
    tried = fitted.rules[chosen].run(new)
    assert tried.correct.mean() == 1
    assert tried.cost.mean() < 0.6 * 5e-3


def test_an_unknown_category_is_routed_by_the_averages() -> None:
    fitted = fit_suitability(replace(kinds(400), category=np.zeros(400, dtype=np.intp)))
    [dear] = fitted.at_prices(np.array([100.0]))
    strange = replace(kinds(50), category=np.full(50, 7))
    assert fitted.rules[dear].run(strange).cost.tolist() == [5e-3] * 50
