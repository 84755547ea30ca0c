"""A policy gives every query of a batch its plan."""

from collections.abc import Sequence
from typing import Protocol

from schemas.records import Assignment, Pin, Plan, Query


class Policy(Protocol):
    """Pure: the same batch and pin give the same plans. Randomness comes from `pin.seed`."""

    version: str

    def price_of_money(self, usd_per_query: float) -> float:
        """λ of a batch in USD⁻¹: what one dollar less is worth in P(correct), with that much left for each query."""
        ...

    def plan(self, queries: Sequence[Query], assigned: Sequence[Assignment], pin: Pin) -> list[Plan]: ...
