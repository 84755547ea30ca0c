"""A seeded game: queries of two topics, three tiers that differ in skill and price, judges that know a little."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.router.outlook import Ladder, Outlook, outlook_of
from pipeline.router.planned import PlannedPolicy
from pipeline.router.scoring import Scoring
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import LENGTH, SPENT, Graded, Matrix32, Statistics, added, empty
from schemas.ids import QueryId, TierName
from schemas.money import Price, price_of
from schemas.records import Assignment, Pin, Plan, Query

TIERS = tuple(map(TierName, ("small", "middle", "large")))
TOPICS = ("plain", "hard")
SKILL = {"plain": (0.90, 0.91, 0.92), "hard": (0.35, 0.55, 0.93)}  # P(correct) of each tier
TOKENS = 500
PRICES = {
    tier: price_of(input=Decimal(usd), output=Decimal(usd))
    for tier, usd in zip(TIERS, ("0.1", "1", "10"), strict=True)
}


class TopicFeatures:
    """1, length, and which topic the text names."""

    def matrix(self, queries: Sequence[Query], assigned: Sequence[Assignment]) -> Matrix32:
        topics = np.array([[query.text == topic for topic in TOPICS] for query in queries]).reshape(-1, 2)
        return np.hstack([np.full((len(queries), 2), [1, 0.1]), topics]).astype(np.float32)


def ladder(**changes: object) -> Ladder:
    base = Ladder(
        tiers=TIERS, accept=np.array([0.8, 0.8, 0.8]), trust=dict.fromkeys(TIERS, 0.7), prices=PRICES
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def nothing_seen() -> Statistics:
    return empty(dict.fromkeys(TIERS, 0.7), ("", *TOPICS), "topics", 4)


def policy_of(
    scoring: Scoring, stats: Statistics | None, epsilon: float | None = None, price: float | None = None,
    tiers: Ladder | None = None, **plans: Any,
) -> PlannedPolicy:  # fmt: skip
    snapshot = stats and Snapshot(version="game@1", parents=(), rewards=(), statistics=stats)
    return PlannedPolicy(
        "game", scoring, snapshot or None, tiers or ladder(), lambda assignment: None, TopicFeatures(),
        epsilon=epsilon, price=price, **plans,
    )  # fmt: skip


@dataclass(frozen=True)
class Night:
    """What a batch's plans came to."""

    accuracy: float
    usd: float  # a query
    graded: Graded
    plans: list[Plan]


def queries_of(count: int, night: int, hard: float = 0.3) -> list[Query]:
    random = np.random.default_rng(night)
    topics = np.where(random.random(count) < hard, "hard", "plain")
    return [
        Query(query_id=QueryId(f"{night}/{number}"), text=str(topic)) for number, topic in enumerate(topics)
    ]


def in_topic(query: Query, familiar: bool) -> Assignment:
    return Assignment(
        category=query.text, score=1.0, familiar=familiar, source="rule" if familiar else "fast"
    )


def play(policy: PlannedPolicy, night: int, count: int = 1000, familiar: bool = False) -> Night:
    """Every query walks its plan; each answer is graded."""
    queries = queries_of(count, night)
    assigned = [in_topic(query, familiar) for query in queries]
    plans = policy.plan(
        queries, assigned, Pin(policy_version="", price_of_money=policy.price_of_money(1.0), seed=night)
    )
    random = np.random.default_rng(10_000 + night)
    luck, judged = random.random((2, count, len(TIERS)))
    right_at = luck < np.array([SKILL[query.text] for query in queries])
    confidence = np.where(right_at, 1 - 0.5 * judged**2, 0.4 + 0.5 * judged)
    calls, ends = [], []
    for row, plan in enumerate(plans):
        left: list[int] = []
        for position, tier in enumerate(map(TIERS.index, plan.tiers)):
            calls.append((row, tier, tuple(other in left for other in range(len(TIERS)))))
            if confidence[row, tier] >= plan.accept[position] or position == len(plan.tiers) - 1:
                ends.append(right_at[row, tier])
                break
            left.append(tier)
    rows, tiers = np.array([call[:2] for call in calls]).T
    spent = np.zeros((len(calls), len(SPENT)))
    spent[:, 0] = TOKENS
    graded = Graded(
        features=TopicFeatures().matrix(queries, assigned),
        category=np.array([1 + TOPICS.index(query.text) for query in queries]),
        key=random.integers(0, 2**62, count).astype(np.uint64),
        query=rows,
        tier=tiers,
        left=np.array([call[2] for call in calls]),
        correct=right_at[rows, tiers].astype(np.float64),
        weight=np.ones(len(calls)),
        confidence=confidence[rows, tiers],
        spent=spent,
    )
    return Night(float(np.mean(ends)), _usd(tiers) / count, graded, plans)


def _usd(tiers: np.ndarray) -> float:
    each = [_cost(PRICES[tier]) for tier in TIERS]
    return float(np.array(each)[tiers].sum())


def _cost(price: Price) -> float:
    return TOKENS * price.input / price.denominator / 1e9


def nights(
    scoring: Scoring, count: int, familiar: bool = False, epsilon: float | None = None
) -> tuple[list[Night], Statistics]:
    """One night after the other, each with what all before it taught."""
    stats, played = nothing_seen(), []
    for night in range(count):
        policy = policy_of(scoring, stats if night else None, epsilon)
        played.append(play(policy, night, familiar=familiar))
        stats = added(stats, played[-1].graded)
    return played, stats


def outlook_for(tiers: int) -> Outlook:
    """What is expected of that many tiers before any reward."""
    names = [TierName(f"t{number}") for number in range(tiers)]
    trust = dict.fromkeys(names, 0.7)
    ladder = Ladder(tiers=tuple(names), accept=np.full(tiers, 0.8), trust=trust, prices={})
    return outlook_of(empty(trust, ("",), "none", LENGTH), ladder)
