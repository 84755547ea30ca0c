"""Rules a policy may run: ask one model, or a cascade that stops at the first score that is high enough."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.router.observed import Mask, Observed, Tried, Vector


class Rule(Protocol):
    """A decision procedure, applied to recorded outcomes with nothing but what it would have seen live."""

    @property
    def models(self) -> tuple[int, ...]: ...

    def run(self, rows: Observed) -> Tried: ...


class Scorer(Protocol):
    """P(correct) of a model's answer, from what is known once it has answered."""

    def score(self, rows: Observed, model: int, beside: int | None = None) -> Vector:
        """[n]. beside: a model whose answer is known too, where there is one."""
        ...


class Outlook(Scorer, Protocol):
    """P(correct) of a model that was not asked yet, too."""

    def outlook(self, rows: Observed, asked: int, judged: int, beside: int | None = None) -> Vector:
        """[n] P(`judged` is or would be right) once `asked` has answered."""
        ...


class OwnScore:
    """The model's recorded confidence as it is; none recorded counts as no confidence at all."""

    def score(self, rows: Observed, model: int, beside: int | None = None) -> Vector:
        return np.nan_to_num(rows.score[:, model], nan=0.0)


OWN_SCORE = OwnScore()


@dataclass(frozen=True, slots=True)
class Cascade:
    """Models in the order they are asked; `accept[k]` is the score from which the k-th answer stands.

    One model and no threshold is the single model. The last answer always stands.
    """

    models: tuple[int, ...]
    accept: tuple[float, ...] = ()
    scorer: Scorer = OWN_SCORE

    def run(self, rows: Observed) -> Tried:
        count = len(rows)
        correct, cost, calls = np.zeros(count), np.zeros(count), np.zeros(count)
        going = np.ones(count, dtype=bool)
        before: int | None = None
        for position, model in enumerate(self.models):
            cost[going] += rows.cost[going, model]
            calls[going] += 1
            correct[going] = rows.correct[going, model]
            if position < len(self.accept):
                going &= self.scorer.score(rows, model, before) < self.accept[position]
            before = model
        return Tried(correct=correct, cost=cost, calls=calls)


@dataclass(frozen=True, slots=True)
class Escalation:
    """Asks the second model where it is likelier to be right than the first, by more than `least`.

    Routing and cascading by one rule (after cascade routing, arXiv 2410.10347): a query that neither can answer is
    not worth a second call, however low the first one's score is.
    """

    models: tuple[int, int]
    least: float
    scorer: Outlook

    def run(self, rows: Observed) -> Tried:
        first, second = self.models
        return escalated(rows, first, second, gain(rows, first, second, self.scorer) > self.least)


def gain(rows: Observed, first: int, second: int, scorer: Outlook) -> Vector:
    """[n] by how much likelier the second model is to be right, once the first has answered."""
    return scorer.outlook(rows, first, second) - scorer.outlook(rows, first, first)


def escalated(rows: Observed, first: int, second: int, on: Mask) -> Tried:
    """The first model everywhere, and the second where `on` [n] says so; the last answer stands."""
    return Tried(
        correct=np.where(on, rows.correct[:, second], rows.correct[:, first]),
        cost=rows.cost[:, first] + on * rows.cost[:, second],
        calls=np.where(on, 2.0, 1.0),
    )
