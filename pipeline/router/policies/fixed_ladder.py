"""The fixed ladder: the same tiers for every query in the same order, less those its category does not allow."""

from collections.abc import Callable, Sequence

from schemas.ids import TierName
from schemas.records import Assignment, Pin, Plan, Query


class FixedLadder:
    """The baseline that needs no learning; every plan is certain, so its propensity is 1."""

    def __init__(
        self,
        tiers: Sequence[TierName],
        accept: Sequence[float],
        allowed: Callable[[Assignment], frozenset[TierName] | None],
        version: str = "fixed-ladder@1",
    ) -> None:
        self.version = version
        self._ladder = list(zip(tiers, accept, strict=True))
        self._allowed = allowed
        self._plans: dict[tuple[object, ...], Plan] = {}

    def price_of_money(self, usd_per_query: float) -> float:
        return 0.0

    def plan(self, queries: Sequence[Query], assigned: Sequence[Assignment], pin: Pin) -> list[Plan]:
        return [self._plan(assignment) for assignment in assigned]

    def _plan(self, assignment: Assignment) -> Plan:
        key = (assignment.category, assignment.source, assignment.guards)
        if key not in self._plans:
            allowed = self._allowed(assignment)
            rungs = [(tier, accept) for tier, accept in self._ladder if allowed is None or tier in allowed]
            self._plans[key] = Plan(
                tiers=tuple(tier for tier, _ in rungs),
                accept=tuple(accept for _, accept in rungs),
                route="rule" if assignment.source == "rule" else "ladder",
                policy_version=self.version,
            )
        return self._plans[key]
