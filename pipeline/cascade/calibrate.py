"""The combiner's weights from labelled votes: logistic regression, drawn towards the stated weights."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from pipeline.cascade.combine import STATED, Combiner, combine, evidence
from pipeline.router.logistic import fit_logistic
from schemas.records import Vote

_PRECISION = (
    1.0,
    4.0,
    4.0,
    4.0,
)  # of bias, confidence, trust, beside: one standard deviation is 1, .5, .5, .5
_OF_JUDGES = 1.0
_EDGE = 1e-6


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """A valid answer whose worth is known."""

    scores: Mapping[str, float]  # by judge; those that were silent or failed are missing
    trust: float  # of its tier
    right: bool


class Fitness(msgspec.Struct, frozen=True, kw_only=True):
    """How true P(correct) is, of answers that no weight was fitted on. Lower is better."""

    answers: int
    brier: float  # mean squared error
    log_loss: float


def calibrate(rows: Sequence[Labelled]) -> Combiner:
    """No weight but the bias goes below 0: more support never makes an answer less likely. `version` is for the caller
    to give."""
    names = sorted({name for row in rows for name in row.scores} - {"valid", "confidence"})
    x = np.array([evidence(row.scores, row.trust, names) for row in rows])
    y = np.array([float(row.right) for row in rows])
    mean = np.array(STATED.weights(names))
    precision = np.array([*_PRECISION, *[_OF_JUDGES] * len(names)])
    kept = np.ones(len(mean), dtype=bool)
    while True:
        weights = np.zeros(len(mean))
        weights[kept] = fit_logistic(x[:, kept], y, precision[kept], mean[kept], np.zeros(kept.sum()))
        below = weights < 0
        below[0] = False  # the bias may be
        if not below.any():
            break
        kept &= ~below
    bias, confidence, trust, beside, *judges = weights.tolist()
    return Combiner(
        version="", bias=bias, confidence=confidence, trust=trust, beside=beside,
        judges={**STATED.judges, **dict(zip(names, judges, strict=True))},
    )  # fmt: skip


def fitness(combiner: Combiner, rows: Sequence[Labelled]) -> Fitness:
    said = np.array([_believed(combiner, row) for row in rows])
    right = np.array([float(row.right) for row in rows])
    kept = np.clip(said, _EDGE, 1 - _EDGE)
    loss = -(right * np.log(kept) + (1 - right) * np.log(1 - kept))
    return Fitness(answers=len(rows), brier=float(((said - right) ** 2).mean()), log_loss=float(loss.mean()))


def _believed(combiner: Combiner, row: Labelled) -> float:
    votes = [Vote(judge=judge, version=0, score=score) for judge, score in row.scores.items()]
    return combine(votes, row.trust, combiner)
