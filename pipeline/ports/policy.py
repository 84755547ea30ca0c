"""A policy gives every query of a batch its plan."""

from collections.abc import Sequence
from typing import Protocol

from schemas.records import Assignment, Pin, Plan, Query


class Policy(Protocol):
    """Pure: the same batch and pin give the same plans. Randomness comes from `pin.seed`."""

    version: str

    def plan(self, queries: Sequence[Query], assigned: Sequence[Assignment], pin: Pin) -> list[Plan]: ...
