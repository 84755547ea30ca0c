"""What the judges of a live job make of recorded answers: the combiner and the vote that jobs run, on whole columns."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pipeline.cascade.combine import combine
from pipeline.cascade.fuse import weigh
from pipeline.router.logistic import logit
from pipeline.router.observed import Matrix, Observed, Vector
from pipeline.router.planner import Path
from pipeline.router.statistics import Codes
from schemas.records import Vote

TRUST = 0.7  # in a model that states no confidence
_EDGE = 1e-4  # as near to certain as a confidence comes
MOST_CHOICES = 20  # of answers that there could be
Voices = tuple[tuple[float, float], ...]  # of each model: added to its log-odds, and multiplied by


@dataclass(frozen=True, slots=True)
class Judged:
    """Recorded answers, judged as they would come in: each reckoned when first needed."""

    rows: Observed
    alone: Matrix  # [n, m] P(correct) of each answer by its own word
    choices: int  # answers there could be
    _confidence: dict[tuple[int, Path], Vector] = field(default_factory=dict)
    _votes: dict[tuple[Path, Voices], tuple[Codes, Vector]] = field(default_factory=dict)

    def confidence(self, model: int, before: Path) -> Vector:
        """[n] P(correct) of an answer, those of the models `before` known."""
        key = (model, tuple(sorted(before)))
        if key not in self._confidence:
            same = self._same(model)[:, list(before)]
            agreed = same.mean(axis=1) if before else np.zeros(len(same))
            told = (self.rows.answer[:, model] >= 0) & bool(before)
            each = zip(self.alone[:, model].tolist(), agreed.tolist(), told.tolist(), strict=True)
            self._confidence[key] = np.array([combine(_votes(*one), TRUST) for one in each])
        return self._confidence[key]

    def vote(self, asked: Path, voices: Voices) -> tuple[Codes, Vector]:
        """[n] the model whose answer stands, and P(correct) of it."""
        if (asked, voices) not in self._votes:
            self._votes[asked, voices] = self._vote(asked, voices)
        return self._votes[asked, voices]

    def _vote(self, asked: Path, voices: Voices) -> tuple[Codes, Vector]:
        stands, sure = np.zeros(len(self.rows), dtype=np.intp), np.zeros(len(self.rows))
        shift, scale = np.array(voices)[list(asked)].T
        odds = shift + scale * logit(self.alone[:, asked])
        answers = self.rows.answer[:, asked]
        unlike = np.where(answers < 0, -1 - np.arange(len(asked)), answers).astype(str).tolist()
        for row, (said, each) in enumerate(zip(unlike, odds.tolist(), strict=True)):
            group, sure[row] = weigh(said, each, self.choices)
            stands[row] = asked[max((each[at], at) for at in group)[1]]
        return stands, sure

    def _same(self, model: int) -> Matrix:
        answer = self.rows.answer
        same: Matrix = ((answer == answer[:, [model]]) & (answer >= 0)).astype(np.float64)
        return same


def _votes(alone: float, agreed: float, told: bool) -> list[Vote]:
    said = {"valid": 1.0, "confidence": alone, "agreement": agreed if told else None}
    return [Vote(judge=judge, version=1, score=score) for judge, score in said.items()]


@lru_cache(maxsize=16)
def judged(rows: Observed) -> Judged:
    """Remembered: every rule of a method runs on the same rows."""
    alone = np.clip(np.nan_to_num(rows.score, nan=TRUST), _EDGE, 1 - _EDGE)
    return Judged(rows, alone, int(np.clip(rows.answer.max() + 1, 2, MOST_CHOICES)))
