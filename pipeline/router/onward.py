"""Planning again once an answer is there: the planner's own rule, conditioned on what is known by then.

Routing and cascading by one rule (Dekoninck et al., arXiv 2410.10347): after each answer that is not believed, what
could still be asked is worth P(correct) - λ·cost, and stopping is worth the answer that stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from pipeline.router.outlook import Outlook
from pipeline.router.planner import Path, expect, paths_over
from pipeline.router.statistics import Codes, Floats
from schemas.ids import TierName
from schemas.records import Plan

MARGIN = 0.03  # of P(correct), by which another way must be worth more than the planned one


def laid_out(tiers: Sequence[int], accept: Floats, path: Path) -> tuple[Path, tuple[float, ...]]:
    """A path, and above it the ladder for answers that are not valid at all; and what each tier is believed from: any
    valid answer of the path's last tier stands."""
    above = tuple(tier for tier in tiers if tier > path[-1]) if path else ()
    needed = accept.tolist()
    last = [0.0] * len(path[-1:])
    return (*path, *above), (
        *(needed[tier] for tier in path[:-1]),
        *last,
        *(needed[tier] for tier in above),
    )


@dataclass(frozen=True, slots=True)
class Replanner:
    """Of one policy version, at one price of money. Positions are those of the job's ladder."""

    outlook: Outlook
    tiers: tuple[TierName, ...]
    accept: Floats  # [m]
    price: float  # λ, USD⁻¹
    fuses: bool  # the answers will vote
    margin: float = MARGIN

    def rest(
        self, likely: Floats, usd: Floats, asked: Path, planned: Path, above: Path, standing: Floats
    ) -> tuple[list[Path], Codes]:
        """Ways on over the tiers `above`, to stop first among them, and the number of each query's, [n].

        likely, usd: [n, m], as before any call; asked: tiers that left these queries; planned: the way on so far;
        standing: [n] P(correct) of the answer that would stand.
        """
        ways = [(), *paths_over(above)]
        if planned not in ways:
            ways.append(planned)
        known = likely + self.outlook.harder[list(asked)].sum(axis=0)
        expected = expect(self.outlook, ways[1:], known, usd, standing if self.fuses else None)
        worth = np.column_stack([standing, expected.correct - self.price * expected.usd])
        best, as_planned = np.argmax(worth, axis=1), ways.index(planned)
        more = worth[np.arange(len(worth)), best] > worth[:, as_planned] + self.margin
        return ways, np.where(more, best, as_planned)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What was expected of one query before any call."""

    rule: Replanner = field(compare=False)  # the plan's version and the batch's pin tell it
    allowed: Path
    likely: tuple[float, ...]  # [m]
    usd: tuple[float, ...]  # [m]

    def replan(self, plan: Plan, asked: Sequence[TierName], confidence: float, standing: float) -> Plan:
        rule, places = self.rule, [self.rule.tiers.index(tier) for tier in plan.tiers]
        count = len(asked)
        done, planned = tuple(places[:count]), tuple(places[count : plan.planned])
        above = tuple(tier for tier in self.allowed if tier > done[-1])
        if confidence >= rule.accept[done[-1]] or not above:
            return plan
        likely, usd = np.array([self.likely]), np.array([self.usd])
        ways, [chosen] = rule.rest(likely, usd, done, planned, above, np.array([standing]))
        if ways[chosen] == planned:
            return plan
        path, accept = laid_out(self.allowed, rule.accept, (*done, *ways[chosen]))
        return msgspec.structs.replace(plan, tiers=tuple(rule.tiers[tier] for tier in path), accept=accept)
