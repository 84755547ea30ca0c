"""A made-up ladder whose tiers say how sure they are and mean it."""

from collections.abc import Sequence

import numpy as np

from pipeline.certify.outcomes import Floats, Outcomes
from schemas.ids import TierName

CHEAP, MIDDLE, DEAR = TierName("cheap"), TierName("middle"), TierName("dear")
USD = {CHEAP: 1e-5, MIDDLE: 1e-4, DEAR: 1e-3}


def ladder_outcomes(count: int, seed: int) -> list[Outcomes]:
    """Every order of three tiers, the dear one the reference."""
    random = np.random.default_rng(seed)
    said = {
        CHEAP: random.beta(3, 1.5, count),
        MIDDLE: random.beta(6, 1.0, count),
        DEAR: np.ones(count),
    }
    agrees = {tier: random.random(count) < chance for tier, chance in said.items()}
    orders = [(DEAR,), (CHEAP, DEAR), (MIDDLE, DEAR), (CHEAP, MIDDLE, DEAR), (CHEAP,), (MIDDLE,)]
    return [
        Outcomes(
            tiers=order,
            confidence=np.column_stack([said[tier] for tier in order]),
            agrees=np.column_stack([*(agrees[tier] for tier in order), np.zeros(count, dtype=bool)]),
            cost=np.tile([USD[tier] for tier in order], (count, 1)),
        )
        for order in orders
    ]


def rows_of(outcomes: Sequence[Outcomes], rows: Sequence[int] | Floats) -> list[Outcomes]:
    at = np.asarray(rows, dtype=np.intp)
    return [Outcomes(each.tiers, each.confidence[at], each.agrees[at], each.cost[at]) for each in outcomes]
