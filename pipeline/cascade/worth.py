"""What a further call is worth and what it will cost: from the spec, and from what this job has seen so far."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import msgspec

from pipeline.cascade.combine import standing
from schemas.ids import TierName
from schemas.records import Query, Step

TRUST_COUNTS = 10  # answers of a tier that its `trust` weighs as much as
LEAST_GAIN = 1e-3  # of a call that promises none: it comes last, the cheapest first

# P(correct) of a tier's answer to a query, after the steps so far
Chance = Callable[[Query, TierName, Sequence[Step]], float]


class Tier(msgspec.Struct, kw_only=True):
    """What one process has seen of a tier in this job."""

    trust: float
    answers: int = 0
    confidence: float = 0.0  # P(correct) of these answers, summed up
    left: int = 0  # of these queries, those that went on to the next tier
    held: int = 0  # nano-dollars held for calls that were billed
    cost: int = 0  # nano-dollars they came to
    foreseen: int = 0  # nano-dollars that judges could ask for about these answers
    judged: int = 0  # nano-dollars they came to
    tried: bool = False  # one call was made beyond what the money seemed to reach for, to learn what it costs
    trying: bool = False  # and is under way

    def chance(self) -> float:
        return (self.trust * TRUST_COUNTS + self.confidence) / (TRUST_COUNTS + self.answers)

    def leaving(self) -> float:
        """Share of queries that leave the tier; all of them until some have been seen."""
        return (self.left + 1) / (self.answers + 1)

    def expected(self, hold: int) -> int:
        """Nano-dollars that a call will come to; at first, its hold."""
        return ceil(hold * self.cost / self.held) if self.held else hold

    def judging(self, foreseen: int) -> int:
        """Nano-dollars that judging an answer will come to; at first, the most it could."""
        return ceil(foreseen * self.judged / self.foreseen) if self.foreseen else foreseen

    def note(self, step: Step, hold: int, *, left: bool, foreseen: int = 0) -> None:
        """An answer was judged. What cost nothing (a reused answer) says nothing about costs."""
        self.foreseen += foreseen
        self.judged += step.judging
        self.answers += 1
        self.confidence += step.confidence
        self.left += left
        if hold and step.cost:
            self.held += hold
            self.cost += step.cost


Seen = Mapping[TierName, Tier]


def chance_of(seen: Seen) -> Chance:
    """The tier's trust, and more and more the mean P(correct) of the answers it gave."""
    return lambda query, tier, steps: seen[tier].chance()


def gain(chance: float, steps: Sequence[Step]) -> float:
    """Expected gain in P(correct) over the best answer so far."""
    return chance - max(standing(steps), default=0.0)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One call that could be made next. Amounts in nano-dollars."""

    gain: float
    cost: int  # expected
    hold: int


def choose(offers: Sequence[Offer], money: int, free: int) -> list[int]:
    """Which to buy, the highest gain per dollar first, as far as `money` goes; what does not fit is passed over.
    No hold above `free` can be granted. Offers of equal worth go in their order."""
    ranked = sorted(
        range(len(offers)), key=lambda i: -max(offers[i].gain, LEAST_GAIN) / max(offers[i].cost, 1)
    )
    chosen = []
    for i in ranked:
        if offers[i].cost <= money and offers[i].hold <= free:
            money -= offers[i].cost
            chosen.append(i)
    return chosen
