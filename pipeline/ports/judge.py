"""A judge scores how likely an answer is correct."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from schemas.ids import TierName
from schemas.records import Answer, Completion, Query, Step, Vote


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge sees: the query, the answer at hand, and the steps before it."""

    query: Query
    tier: TierName
    answer: Answer
    completion: Completion
    before: Sequence[Step]


class Judge(Protocol):
    """Write `score`. Bump `version` whenever the same case could get another score."""

    name: str
    version: int

    async def score(self, case: Case) -> Vote: ...
