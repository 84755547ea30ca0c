"""Candidate ladders over recorded outcomes: singles, pairs and triples with thresholds from the fitting rows."""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

import numpy as np

from pipeline.router.choosing import Fitted
from pipeline.router.fusing import Fusion, outvoted
from pipeline.router.observed import Mask, Matrix, Observed, Vector
from pipeline.router.rules import OWN_SCORE, Cascade, Escalation, Rule, Scorer, gain
from pipeline.router.scorers import LearnedScorer, cross_fit_scorer

PAIR_THRESHOLDS = 24
TRIPLE_THRESHOLDS = 7
Table = tuple[list[Rule], Matrix, Matrix]  # k rules, and what they got: correct [k, n], cost [k, n]


def fit_singles(rows: Observed) -> Fitted:
    """Every model alone."""
    return _joined([_singles(rows)])


def fit_two_model(rows: Observed, scorer: Scorer = OWN_SCORE, seen: Scorer | None = None) -> Fitted:
    """The best two-model cascade, found by trying every pair, cheaper first, at every threshold; singles included.

    seen: scores the fitting rows, where the scorer could have learned them by heart.
    """
    judge = seen or scorer

    def pair(first: int, second: int) -> Table:
        score = judge.score(rows, first)
        cuts = thresholds(score, PAIR_THRESHOLDS)
        rules: list[Rule] = [Cascade((first, second), (float(cut),), scorer) for cut in cuts]
        return _pair(rows, rules, score < cuts[:, None], first, second)

    return _joined(_ladder(rows, pair))


def fit_cascade(rows: Observed) -> Fitted:
    """Two-model cascades that stop on a learned P(correct), judged on cross-fitted scores."""
    return fit_two_model(rows, *cross_fit_scorer(rows))


def fit_escalation(rows: Observed) -> Fitted:
    """Pairs that ask the second model where the learned gain is worth it, judged on cross-fitted gains."""
    scorer, seen = cross_fit_scorer(rows)

    def pair(first: int, second: int) -> Table:
        more = gain(rows, first, second, seen)
        cuts = thresholds(more, PAIR_THRESHOLDS)
        rules: list[Rule] = [Escalation((first, second), float(cut), scorer) for cut in cuts]
        return _pair(rows, rules, more > cuts[:, None], first, second)

    return _joined(_ladder(rows, pair))


def fit_fusion(rows: Observed) -> Fitted:
    """The learned cascades, with a vote over the two answers where both were paid for."""
    scorer, seen = cross_fit_scorer(rows)

    def pair(first: int, second: int) -> Table:
        score = seen.score(rows, first)
        cuts = thresholds(score, PAIR_THRESHOLDS)
        rules: list[Rule] = [Fusion((first, second), float(cut), scorer) for cut in cuts]
        on = score < cuts[:, None]
        cost = _pair(rows, rules, on, first, second)[2]
        return *_pair(rows, rules, on & outvoted(rows, first, second, seen), first, second)[:2], cost

    return _joined(_ladder(rows, pair))


def fit_three_model(rows: Observed) -> Fitted:
    """Cascades of up to three models, each dearer than the one before, on a scorer learned and tuned on the same rows
    (FrugalGPT, arXiv 2305.05176, section 3)."""
    scorer = LearnedScorer(rows)
    pairs = fit_two_model(rows, scorer)
    return _joined([(list(pairs.rules), pairs.correct, pairs.cost), *_triples(rows, scorer)])


def thresholds(scores: Vector, count: int) -> Vector:
    """Quantiles of what was seen, each once: between two scores any threshold does the same."""
    return np.unique(np.quantile(scores, np.linspace(0.02, 0.98, count)))


def _singles(rows: Observed) -> Table:
    return [Cascade((model,)) for model in range(rows.models)], rows.correct.T, rows.cost.T


def _ladder(rows: Observed, pair: Callable[[int, int], Table]) -> Iterator[Table]:
    yield _singles(rows)
    for first, second in combinations(_by_cost(rows), 2):
        yield pair(first, second)


def _pair(rows: Observed, rules: list[Rule], on: Mask, first: int, second: int) -> Table:
    correct = np.where(on, rows.correct[:, second], rows.correct[:, first])
    return rules, correct, rows.cost[:, first] + on * rows.cost[:, second]


def _triples(rows: Observed, scorer: Scorer) -> Iterator[Table]:
    for chain in combinations(_by_cost(rows), 3):
        one, two, three = chain
        first, second = scorer.score(rows, one), scorer.score(rows, two, one)
        cuts = [
            (float(a), float(b))
            for a in thresholds(first, TRIPLE_THRESHOLDS)
            for b in thresholds(second, TRIPLE_THRESHOLDS)
        ]
        both = np.array(cuts)
        on = first < both[:, :1]
        further = on & (second < both[:, 1:])
        correct = np.where(
            further, rows.correct[:, three], np.where(on, rows.correct[:, two], rows.correct[:, one])
        )
        cost = rows.cost[:, one] + on * rows.cost[:, two] + further * rows.cost[:, three]
        yield [Cascade(chain, cut, scorer) for cut in cuts], correct, cost


def _by_cost(rows: Observed) -> list[int]:
    return [int(model) for model in np.argsort(rows.cost.mean(axis=0), kind="stable")]


def _joined(tables: Iterable[Table]) -> Fitted:
    rules, correct, cost = zip(*tables, strict=True)
    return Fitted([rule for each in rules for rule in each], np.concatenate(correct), np.concatenate(cost))
