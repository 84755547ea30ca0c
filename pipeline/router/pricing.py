"""λ, the price of money: what one dollar saved must be worth in P(correct), for quality's sake and for the cap's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.router.planner import Expected
from pipeline.router.statistics import Codes, Floats

MARGIN = 1.0  # standard deviations by which what is not known yet may not tip the balance
CHEAPEST, DEAREST = 1e-6, 1e9  # λ at which cost does not count, and at which nothing else does
_HALVINGS = 36


@dataclass(frozen=True, slots=True)
class Sampled:
    """Queries of the past that may go the same paths, and what each path would get."""

    taken: Sequence[Expected]  # as the policy takes them; more than one where it draws
    cost: Floats  # [n, paths] USD, as expected; a policy that hopes for the best takes it for less
    true: Sequence[Floats]  # [n, paths] P(correct), under each of some θs that may be true
    ladder: Sequence[Floats]  # [n] the same of the fixed ladder
    most_usd: float  # for all the queries: what the fixed ladder costs, where it is one of the paths

    def chosen(self, price: float) -> list[Codes]:
        """[n] paths, for each way to take them."""
        return [each.best(price) for each in self.taken]

    def gains(self, price: float) -> Floats:
        """Right answers more than on the ladder, under each θ."""
        ways = self.chosen(price)
        rows = np.arange(len(self.ladder[0]))
        return np.array(
            [
                np.mean([(true[rows, way] - ladder).sum() for way in ways])
                for true, ladder in zip(self.true, self.ladder, strict=True)
            ]
        )

    def usd(self, price: float) -> float:
        rows = np.arange(len(self.ladder[0]))
        return float(np.mean([self.cost[rows, way].sum() for way in self.chosen(price)]))


def price_for_quality(groups: Sequence[Sampled]) -> float:
    """The largest λ at which no fewer answers are right than on the fixed ladder, with a margin for what is open;
    but never so low that plans cost more than the ladder. 0 where nothing was seen yet.

    Where λ may move without any plan changing, it stays in the middle of that range: at its end, the next batch's
    slightly other θ would tip whole categories at once.
    """
    if not groups:
        return 0.0
    least = price_for_money(groups, sum(each.most_usd for each in groups))
    return max(least, _as_quality_allows(groups))


def price_for_money(groups: Sequence[Sampled], usd: float) -> float:
    """The smallest λ at which the cost of all queries of all groups is at most `usd`."""

    def dearer(price: float) -> bool:
        return sum(each.usd(price) for each in groups) > usd

    return _last(dearer) * (1 + 1e-9) if dearer(0.0) else 0.0


def _as_quality_allows(groups: Sequence[Sampled]) -> float:
    def good(price: float) -> bool:
        gain = np.sum([each.gains(price) for each in groups], axis=0)
        return bool(gain.mean() - MARGIN * gain.std() >= -1e-9)

    def plans(price: float) -> list[bytes]:
        return [way.tobytes() for each in groups for way in each.chosen(price)]

    if not good(CHEAPEST):
        return 0.0
    most = _last(good)
    last = plans(most)
    least = _last(lambda price: plans(price) != last, most)
    return float((least * most) ** 0.5)


def _last(holds: Callable[[float], bool], below: float = DEAREST) -> float:
    """Up to which price something holds that then ceases to, by bisection."""
    low, high = CHEAPEST, below
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
