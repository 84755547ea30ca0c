"""What drawn rows did on an order of tiers, and what a plan would have made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.ids import TierName

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Positions = NDArray[np.intp]


class Candidate(msgspec.Struct, frozen=True):
    """A plan that may be certified."""

    tiers: tuple[TierName, ...]  # in the order they are asked
    accept: tuple[float, ...]  # P(correct) from which the answer at each stands; of the last, 0


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """n rows on one order of k tiers, all of which were asked."""

    tiers: tuple[TierName, ...]
    confidence: Floats  # [n, k] P(correct) said at each position; -inf: the answer can not be accepted there
    agrees: (
        Bools  # [n, k + 1] the answer there equals the reference; last: what stands if no position accepts
    )
    cost: Floats  # [n, k] USD of asking there

    def __post_init__(self) -> None:
        """Raises ValueError on matrices that do not go together."""
        n, k = len(self.confidence), len(self.tiers)
        if (self.confidence.shape, self.agrees.shape, self.cost.shape) != (
            (n, k),
            (n, k + 1),
            (n, k),
        ) or not k:
            raise ValueError(f"{k} tiers need [n, {k}] confidences and costs, and [n, {k + 1}] agreements")

    def __len__(self) -> int:
        return len(self.confidence)

    def stops(self, accept: Sequence[float]) -> Positions:
        """[n] the position whose answer stands; k: none was accepted. The last accepts whatever is valid."""
        stops: Positions = self._stops(np.array([accept]))[0]
        return stops

    def run(self, accept: Sequence[float]) -> tuple[Bools, Floats]:
        """[n] whether the answer that stands agrees, and [n] the USD of all tiers asked for it."""
        agrees, cost = self.run_all(np.array([accept]))
        return agrees[0], cost[0]

    def run_all(self, accept: Floats) -> tuple[Bools, Floats]:
        """The same of many plans: accept [plans, k], both results [plans, n]."""
        stops = self._stops(accept)
        at = np.arange(len(self))
        spent = np.cumsum(self.cost, axis=1)
        return self.agrees[at, stops], spent[at, np.minimum(stops, len(self.tiers) - 1)]

    def _stops(self, accept: Floats) -> Positions:
        """[plans, n]"""
        stops = np.full((len(accept), len(self)), len(self.tiers), dtype=np.intp)
        for position in reversed(range(len(self.tiers))):
            said, needed = self.confidence[:, position], accept[:, position, None]
            accepted = (
                said > -np.inf if position == len(self.tiers) - 1 else (said >= needed) & (said > -np.inf)
            )
            stops[np.broadcast_to(accepted, stops.shape)] = position
        return stops


def of_tiers(outcomes: Sequence[Outcomes], tiers: Sequence[TierName]) -> Outcomes:
    """The ones on this order of tiers. Raises KeyError where there are none."""
    for each in outcomes:
        if each.tiers == tuple(tiers):
            return each
    raise KeyError(tuple(tiers))
