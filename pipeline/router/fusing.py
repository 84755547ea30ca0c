"""Fusion: the answers already paid for vote, each by the log-odds that it is right."""

from dataclasses import dataclass

from pipeline.router.observed import Mask, Observed, Tried
from pipeline.router.rules import Scorer, escalated
from pipeline.router.scorers import same_answer


@dataclass(frozen=True, slots=True)
class Fusion:
    """A two-model cascade whose second answer must outvote the first. No call is made for the vote."""

    models: tuple[int, int]
    accept: float
    scorer: Scorer

    def run(self, rows: Observed) -> Tried:
        first, second = self.models
        on = self.scorer.score(rows, first) < self.accept
        tried = escalated(rows, first, second, on)
        stands = escalated(rows, first, second, on & outvoted(rows, first, second, self.scorer))
        return Tried(correct=stands.correct, cost=tried.cost, calls=tried.calls)


def outvoted(rows: Observed, first: int, second: int, scorer: Scorer) -> Mask:
    """[n] whether the second answer is no less likely than the first; equal answers have one voice."""
    likelier: Mask = scorer.score(rows, second) >= scorer.score(rows, first)
    return likelier | same_answer(rows, first, second)
