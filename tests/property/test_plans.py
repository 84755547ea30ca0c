"""Every policy, over random ladders, categories and pins: exact propensities, only allowed tiers, plans that repeat."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.router.outlook import Ladder
from pipeline.router.planned import PlannedPolicy
from pipeline.router.planner import LONGEST, paths_over
from pipeline.router.policies import SCORINGS
from pipeline.router.policies.epsilon_greedy import EpsilonGreedy
from pipeline.router.policies.linucb import LinUCB
from pipeline.router.policies.single_call import SingleCall
from pipeline.router.scoring import Scoring
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import SPENT, Graded, Matrix32, added, empty
from schemas.ids import QueryId, TierName
from schemas.records import Assignment, Pin, Plan, Query

scorings = st.sampled_from([make() for make in SCORINGS.values()])
seeds = st.integers(0, 2**63 - 1)


class Flat:
    def matrix(self, queries: list[Query], assigned: list[Assignment]) -> Matrix32:
        return np.ones((len(queries), 3), dtype=np.float32)


def names(tiers: int) -> tuple[TierName, ...]:
    return tuple(TierName(f"t{number}") for number in range(tiers))


def policy_of(
    scoring: Scoring,
    tiers: int,
    epsilon: float,
    seen: int,
    allowed: dict[str, frozenset[TierName] | None],
    new: int = 0,
    **plans: Any,
) -> PlannedPolicy:
    """seen: calls it learned from; 0: no version yet; new: tiers, the first ones, that no version knows."""
    trust = dict.fromkeys(names(tiers), 0.7)
    ladder = Ladder(tiers=names(tiers), accept=np.full(tiers, 0.8), trust=trust, prices={})
    snapshot = None
    if seen:
        random = np.random.default_rng(seen)
        graded = Graded(
            features=np.ones((seen, 3), dtype=np.float32),
            category=random.integers(0, len(allowed), seen),
            key=random.integers(0, 2**62, seen).astype(np.uint64),
            query=np.arange(seen),
            tier=random.integers(new, tiers, seen),
            left=random.random((seen, tiers)) < 0.2,
            correct=random.random(seen).round(),
            weight=np.ones(seen),
            confidence=random.random(seen),
            spent=random.random((seen, len(SPENT))),
        )
        stats = added(empty(trust, tuple(allowed), "flat", 3), graded)
        snapshot = Snapshot(version="p@1", parents=(), rewards=(), statistics=stats)
    return PlannedPolicy(
        "p", scoring, snapshot, ladder, lambda each: allowed[each.category], Flat(), epsilon=epsilon, **plans
    )


def in_category(path: str, familiar: bool = False) -> Assignment:
    return Assignment(category=path, score=1.0, familiar=familiar, source="rule")


def some(count: int, salt: int = 0) -> list[Query]:
    return [Query(query_id=QueryId(f"{salt}-{number}"), text="") for number in range(count)]


def path_of(plan: Plan) -> tuple[TierName, ...]:
    return plan.tiers[: plan.accept.index(0.0) + 1]


@settings(max_examples=25, deadline=None)
@given(
    scoring=st.sampled_from([EpsilonGreedy(), LinUCB(), SingleCall()]),
    tiers=st.integers(1, 5),
    epsilon=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    seen=st.sampled_from([0, 40]),
    seed=seeds,
)
def test_propensities_sum_to_one_and_match_drawn_frequencies(
    scoring: Scoring, tiers: int, epsilon: float, seen: int, seed: int
) -> None:
    # Given queries that are all alike, so that the best plan of each is the same
    count = 4000
    policy = policy_of(scoring, tiers, epsilon, seen, {"": None})
    # When they are planned
    plans = policy.plan(
        some(count, seed), [in_category("")] * count, Pin(policy_version="p@1", price_of_money=0.1, seed=seed)
    )
    # Then each plan has one propensity, and those of the whole list sum to one
    known = {path_of(plan): plan.propensity for plan in plans}
    assert {(path_of(plan), plan.propensity) for plan in plans} == set(known.items())
    paths = paths_over(range(tiers), LONGEST if not seen else scoring.longest)
    if seen and scoring.longest == 1:
        paths = [(tier,) for tier in range(tiers)]
    elif scoring.longest == 1:
        paths = paths_over(range(tiers), 1)
    unseen = len(paths) - len(known)
    assert sum(known.values()) + unseen * epsilon / len(paths) == pytest.approx(1.0)  # type: ignore[arg-type]
    # And they are drawn as often as that says, within five standard deviations
    for path, drawn in Counter(map(path_of, plans)).items():
        propensity = known[path]
        assert propensity is not None
        assert abs(drawn - count * propensity) <= 5 * (count * propensity * (1 - propensity)) ** 0.5 + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    scoring=scorings,
    tiers=st.integers(1, 4),
    categories=st.lists(st.none() | st.frozensets(st.integers(0, 3)), min_size=1, max_size=4),
    epsilon=st.sampled_from([0.0, 0.5, 1.0]),
    seen=st.sampled_from([0, 60]),
    price=st.floats(0, 1e6),
    seed=seeds,
    data=st.data(),
)
def test_no_plan_leaves_the_tiers_its_category_allows(
    scoring: Scoring, tiers: int, categories: list[frozenset[int] | None], epsilon: float, seen: int,
    price: float, seed: int, data: st.DataObject,
) -> None:  # fmt: skip
    allowed = {
        str(code): None if each is None else frozenset(TierName(f"t{number}") for number in each)
        for code, each in enumerate(categories)
    }
    policy = policy_of(scoring, tiers, epsilon, seen, allowed)
    assigned = data.draw(
        st.lists(
            st.builds(in_category, st.sampled_from(sorted(allowed)), st.booleans()), min_size=1, max_size=30
        )
    )
    plans = policy.plan(
        some(len(assigned)), assigned, Pin(policy_version="p@1", price_of_money=price, seed=seed)
    )
    assert len(plans) == len(assigned)
    for plan, each in zip(plans, assigned, strict=True):
        may = allowed[each.category]
        usable = [tier for tier in names(tiers) if may is None or tier in may]
        assert set(plan.tiers) <= set(usable)
        assert bool(plan.tiers) == bool(usable)
        assert list(plan.tiers) == sorted(plan.tiers)
        assert len(plan.accept) == len(plan.tiers)


@settings(max_examples=40, deadline=None)
@given(scoring=scorings, seed=seeds, epsilon=st.sampled_from([0.0, 0.3]), seen=st.sampled_from([0, 60]))
def test_the_same_seed_plans_alike_in_any_process_and_order(
    scoring: Scoring, seed: int, epsilon: float, seen: int
) -> None:
    queries = some(50, seed % 1000)
    pin = Pin(policy_version="p@1", price_of_money=1.0, seed=seed)
    first = policy_of(scoring, 3, epsilon, seen, {"": None}).plan(queries, [in_category("")] * 50, pin)
    again = policy_of(scoring, 3, epsilon, seen, {"": None}).plan(queries[::-1], [in_category("")] * 50, pin)
    assert first == again[::-1]


@settings(max_examples=25, deadline=None)
@given(
    scoring=st.sampled_from([EpsilonGreedy(), LinUCB()]),
    tiers=st.integers(2, 5),
    new=st.integers(0, 2),
    epsilon=st.sampled_from([0.0, 0.3]),
    profile=st.sampled_from([0.1, 0.5, 1.0]),
    replans=st.booleans(),
    seed=seeds,
)
def test_propensities_stay_exact_with_a_profile_run_and_with_plans_made_again(
    scoring: Scoring, tiers: int, new: int, epsilon: float, profile: float, replans: bool, seed: int
) -> None:
    # Given a version that knows all tiers but the first ones, and queries that are all alike
    count, seen = 4000, 400
    new = min(new, tiers - 1)
    flags = {"new": new, "profile": profile, "replans": replans}
    policy = policy_of(scoring, tiers, epsilon, seen, {"": None}, **flags)
    pin = Pin(policy_version="p@1", price_of_money=0.1, seed=seed)
    # When they are planned
    plans = policy.plan(some(count, seed), [in_category("")] * count, pin)
    # Then a plan is known by its path and by whether answers may change it, and has one propensity
    kinds = [(path_of(plan), plan.onward is not None) for plan in plans]
    known = dict(zip(kinds, [plan.propensity for plan in plans], strict=True))
    assert {(kind, plan.propensity) for kind, plan in zip(kinds, plans, strict=True)} == set(known.items())
    # And these sum to one, with the explored paths that happened not to be drawn
    listed = {tuple(names(tiers)[tier] for tier in path) for path in paths_over(range(tiers), LONGEST)}
    undrawn = listed - {path for path, again in known if not again}
    each = (1 - profile if new else 1) * epsilon / len(listed)
    assert sum(known.values()) + each * len(undrawn) == pytest.approx(1.0)  # type: ignore[arg-type]
    # And they are drawn as often as that says, within five standard deviations
    for kind, drawn in Counter(kinds).items():
        propensity = known[kind]
        assert propensity is not None
        assert abs(drawn - count * propensity) <= 5 * (count * propensity * (1 - propensity)) ** 0.5 + 1e-6
    # And each unknown tier is the first of its share
    for tier in names(tiers)[:new]:
        first = sum(path_of(plan)[0] == tier for plan in plans)
        least = count * profile / new
        assert first >= least - 5 * least**0.5


@settings(max_examples=40, deadline=None)
@given(
    scoring=scorings,
    tiers=st.integers(1, 4),
    allowed=st.none() | st.frozensets(st.integers(0, 3), min_size=1),
    fuses=st.booleans(),
    price=st.floats(0, 1e6),
    confidences=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    standing=st.floats(0, 1),
    seed=seeds,
)
def test_a_plan_made_again_repeats_keeps_what_was_asked_and_leaves_no_allowed_tier(
    scoring: Scoring, tiers: int, allowed: frozenset[int] | None, fuses: bool, price: float,
    confidences: list[float], standing: float, seed: int,
) -> None:  # fmt: skip
    may = None if allowed is None else frozenset(TierName(f"t{number}") for number in allowed)
    pin = Pin(policy_version="p@1", price_of_money=price, seed=seed)
    flags = {"replans": True, "fuses": fuses}

    def planned() -> list[Plan]:
        policy = policy_of(scoring, tiers, 0.2, 60, {"": may}, **flags)
        return policy.plan(some(20, seed % 1000), [in_category("")] * 20, pin)

    def walked(plan: Plan) -> list[Plan]:
        """As its answers change it, none of them believed."""
        ways, asked = [plan], 0
        while asked < len(plan.tiers) and plan.onward is not None:
            asked += 1
            plan = plan.onward.replan(plan, plan.tiers[:asked], confidences[asked - 1], standing)
            ways.append(plan)
        return ways

    # Given the plans of a batch, and those of the same batch delivered again
    first, again = planned(), planned()
    assert first == again
    for one, other in zip(first, again, strict=True):
        # Then the same answers lead both the same way
        ways = walked(one)
        assert ways == walked(other)
        for asked, (before, plan) in enumerate(pairwise(ways), 1):
            assert plan.tiers[:asked] == before.tiers[:asked]
            assert list(plan.tiers) == sorted(set(plan.tiers))
            assert may is None or set(plan.tiers) <= may
            assert len(plan.accept) == len(plan.tiers)
            assert (plan.propensity, plan.route) == (one.propensity, one.route)
        # And an explored plan, or a policy of single calls, changes none
        if one.route == "explore" or scoring.longest == 1:
            assert one.onward is None
