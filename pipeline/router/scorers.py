"""P(correct), learned from everything that is known once an answer was given."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pipeline.router.logistic import fit_logistic, logit, sigmoid
from pipeline.router.observed import Mask, Matrix, Observed, Rows, Vector

MOST_LABELS = 50  # of a closed set of answers; more are free text, whose codes say nothing
PARTS = 10  # of cross-fitting: the more, the more alike are the fits that score the fitting rows and the whole one
_PRECISION = (0.01, 0.5, 0.5, 0.5, 0.5, 0.5)  # of the weights' priors, in the order of `_inputs`
_TEXT = 4.0  # of each feature of the text
_SMOOTH = 8.0  # answers a label's accuracy is shrunk by, towards the model's own
_Key = tuple[int, int, int | None]  # the model asked, the model judged, the model asked beside


@dataclass(frozen=True, slots=True)
class LearnedScorer:
    """Logistic regressions over the asked model's confidence, the label it gave, its agreement with another's answer,
    and the text. Each is fitted when first needed."""

    known: Observed  # the fitting rows
    start: "LearnedScorer | None" = None  # where Newton's steps begin
    labels: dict[tuple[int, int], Vector] = field(default_factory=dict)
    weights: dict[_Key, Vector] = field(default_factory=dict)

    def score(self, rows: Observed, model: int, beside: int | None = None) -> Vector:
        """[n] P(the answer of `model` is right), the answer of `beside` known too."""
        return self.outlook(rows, model, model, beside)

    def outlook(self, rows: Observed, asked: int, judged: int, beside: int | None = None) -> Vector:
        """[n] P(`judged` is or would be right) once `asked` has answered."""
        return sigmoid(self._inputs(rows, asked, judged, beside) @ self._fitted(asked, judged, beside))

    def _fitted(self, asked: int, judged: int, beside: int | None) -> Vector:
        key = (asked, judged, beside)
        if key not in self.weights:
            x = self._inputs(self.known, *key)
            precision = np.array([*_PRECISION, *[_TEXT] * (x.shape[1] - len(_PRECISION))])
            start = None if self.start is None else self.start._fitted(*key)
            self.weights[key] = fit_logistic(x, self.known.correct[:, judged], precision, start=start)
        return self.weights[key]

    def _inputs(self, rows: Observed, asked: int, judged: int, beside: int | None) -> Matrix:
        raised = self._label(asked, judged)
        own, known = _confidence(rows, asked)
        agree, other = np.zeros(len(rows)), np.zeros(len(rows))
        if beside is not None:
            agree = np.where(same_answer(rows, asked, beside), 0.5, -0.5)
            other = 2 * agree * _confidence(rows, beside)[0]
        label = raised[np.minimum(rows.answer[:, asked], len(raised) - 1)]
        return np.column_stack([np.ones(len(rows)), own, known, label, agree, other, rows.features])

    def _label(self, asked: int, judged: int) -> Vector:
        """[codes] how much each label of `asked` raises the log-odds that `judged` is right; an unseen one: not."""
        if (asked, judged) not in self.labels:
            code, right = self.known.answer[:, asked], self.known.correct[:, judged]
            count = int(self.known.answer.max()) + 1
            raised = np.zeros((count if count <= MOST_LABELS else 0) + 2)
            for label in range(len(raised) - 2):
                given = right[code == label]
                shrunk = (given.sum() + _SMOOTH * right.mean()) / (len(given) + _SMOOTH)
                raised[label] = np.subtract(*logit(np.array([shrunk, right.mean()])))
            self.labels[asked, judged] = raised
        return self.labels[asked, judged]


@dataclass(frozen=True, slots=True)
class HeldOutScorer:
    """Scores the fitting rows, each by a scorer that was fitted without it."""

    parts: tuple[
        tuple[Rows, Observed, LearnedScorer], ...
    ]  # where they stand, the rows, and who did not see them

    def score(self, rows: Observed, model: int, beside: int | None = None) -> Vector:
        return self.outlook(rows, model, model, beside)

    def outlook(self, rows: Observed, asked: int, judged: int, beside: int | None = None) -> Vector:
        scores = np.zeros(len(rows))
        for at, held_out, scorer in self.parts:
            scores[at] = scorer.outlook(held_out, asked, judged, beside)
        return scores


@lru_cache(maxsize=1)
def cross_fit_scorer(rows: Observed, seed: int = 0) -> tuple[LearnedScorer, HeldOutScorer]:
    """A scorer fitted on all rows, and what scores those rows themselves. Methods of one fit share it."""
    whole = LearnedScorer(rows)
    part = np.random.default_rng(seed).permutation(len(rows)) % PARTS
    parts = [(np.flatnonzero(part == number), np.flatnonzero(part != number)) for number in range(PARTS)]
    return whole, HeldOutScorer(
        tuple((out, rows.take(out), LearnedScorer(rows.take(rest), whole)) for out, rest in parts)
    )


def same_answer(rows: Observed, one: int, other: int) -> Mask:
    same: Mask = (rows.answer[:, one] == rows.answer[:, other]) & (rows.answer[:, one] >= 0)
    return same


def _confidence(rows: Observed, model: int) -> tuple[Vector, Mask]:
    """[n] log-odds of the model's own word, scaled to about one, 0 where none was recorded; and where one was."""
    odds = logit(rows.score[:, model]) / 4
    return np.nan_to_num(odds, nan=0.0), ~np.isnan(odds)
