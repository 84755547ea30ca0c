"""The fixed ladder: every allowed tier, in the spec's order, for certain."""

import pytest

from pipeline.router.policies.fixed_ladder import FixedLadder
from schemas.ids import QueryId, TierName
from schemas.records import Assignment, Pin, Query

TIERS = [TierName(name) for name in ("c", "a", "b")]
ALLOWED = {"": None, "some": frozenset({TierName("b"), TierName("c")}), "none": frozenset[TierName]()}


def ladder() -> FixedLadder:
    return FixedLadder(TIERS, [0.9, 0.8, 0.7], lambda assignment: ALLOWED[assignment.category])


def assigned(category: str, source: str = "fast") -> Assignment:
    return Assignment(category=category, score=1.0, familiar=True, source=source)  # type: ignore[arg-type]


def test_plans_hold_the_allowed_tiers_in_order_with_their_thresholds() -> None:
    categories = ["", "some", "none", ""]
    queries = [Query(query_id=QueryId(str(row)), text="") for row in range(4)]

    plans = ladder().plan(queries, [assigned(each) for each in categories], Pin(policy_version="p"))

    assert [plan.tiers for plan in plans] == [("c", "a", "b"), ("c", "b"), (), ("c", "a", "b")]
    assert [plan.accept for plan in plans] == [(0.9, 0.8, 0.7), (0.9, 0.7), (), (0.9, 0.8, 0.7)]
    assert {plan.propensity for plan in plans} == {1.0}
    assert {plan.policy_version for plan in plans} == {"fixed-ladder@1"}


@pytest.mark.parametrize(
    ("source", "route"), [("rule", "rule"), ("fast", "ladder"), ("slow", "ladder"), ("none", "ladder")]
)
def test_the_route_tells_rules_from_the_rest(source: str, route: str) -> None:
    (plan,) = ladder().plan([], [assigned("", source)], Pin(policy_version="p"))

    assert plan.route == route


def test_a_threshold_is_needed_for_every_tier() -> None:
    with pytest.raises(ValueError, match="shorter"):
        FixedLadder(TIERS, [0.9], lambda assignment: None)
