"""What tells the learning policies apart: the P(correct) at which a plan takes each tier."""

from typing import ClassVar, Protocol, TypeVar

import numpy as np

from pipeline.router.planner import LONGEST
from pipeline.router.statistics import Matrix32

X = TypeVar("X", contravariant=True)


class Model(Protocol[X]):
    """`Linear` over features [n, d], or `Table` over categories [n]."""

    def mean(self, x: X) -> Matrix32: ...
    def deviation(self, x: X) -> Matrix32: ...
    def drawn(self, random: np.random.Generator) -> "Model[X]": ...


class Scoring:
    """The base of every learning policy: one method to write."""

    longest: ClassVar[int] = LONGEST  # tiers of a plan
    epsilon: ClassVar[float] = 0.05  # share of queries that explore, where the spec says nothing
    profiles: ClassVar[bool] = True  # tiers of which little is known are asked more than ε says
    certain: ClassVar[bool] = (
        True  # the best plan follows from version and λ alone, so propensities are known
    )

    def score(self, model: Model[X], x: X, random: np.random.Generator) -> Matrix32:
        """[n, m]; `random` is seeded by the batch's pin."""
        raise NotImplementedError
