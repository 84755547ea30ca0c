"""A judge scores how likely an answer is correct."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from schemas.ids import TierName
from schemas.records import Answer, Completion, Query, Request, Step, Vote


class NoReply(Exception):
    """A tier that a judge asked gave no reply: no money, out of reach, not allowed to see the query."""


class Ask(Protocol):
    async def __call__(self, tier: TierName, request: Request, sample: int = 0) -> Completion:
        """What a tier says, paid for by the query through the ledger. `sample` tells equal requests apart. Raises
        NoReply."""
        ...


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge sees: the query, the answer at hand, the steps before it, and a way to ask."""

    query: Query
    document: str  # of the query, as it may leave this process
    tier: TierName
    answer: Answer
    completion: Completion
    before: Sequence[Step]
    outlook: float  # P(correct) by the judges heard so far
    needed: float  # P(correct) from which the answer will stand; 0 where it stands anyway
    ask: Ask


class Judge(Protocol):
    """Write `score`. Bump `version` whenever the same case could get another score.

    A score of None leaves a record where it comes with a reason, and is silence where it does not. What `score` raises
    becomes such a record."""

    name: str
    version: int

    async def score(self, case: Case) -> Vote: ...


class PayingJudge(Judge, Protocol):
    """Heard after those that cost nothing, and of valid answers only."""

    def foresee(self, query: Query, document: str) -> list[tuple[TierName, Request]]:
        """The most it may ask about one answer, for what that could cost. Asks nothing."""
        ...
