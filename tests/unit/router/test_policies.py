"""The learning policies on a seeded game: easy and hard queries, a cheap, a middling and a dear tier."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pipeline.router.planned import PROFILED
from pipeline.router.policies.epsilon_greedy import EpsilonGreedy
from pipeline.router.policies.linucb import LinUCB
from pipeline.router.policies.single_call import SingleCall
from pipeline.router.policies.thompson import Thompson
from pipeline.router.scoring import Scoring
from pipeline.router.statistics import Statistics, added, with_tier
from schemas.ids import TierName
from schemas.money import price_of
from schemas.records import Pin, Plan
from tests.unit.router.game import (
    PRICES,
    TIERS,
    in_topic,
    ladder,
    nights,
    nothing_seen,
    play,
    policy_of,
    queries_of,
)

LEARNING = [EpsilonGreedy(), LinUCB(), Thompson()]
PIN = Pin(policy_version="game@1", price_of_money=50.0, seed=3)


@pytest.fixture(scope="module")
def learned() -> Statistics:
    """Three nights, of which the last two hold what exploration found."""
    return nights(EpsilonGreedy(), 3, epsilon=0.2)[1]


def upto(plan: Plan) -> tuple[TierName, ...]:
    """The tiers of a plan to the one whose every valid answer stands."""
    return plan.tiers[: plan.accept.index(0.0) + 1]


@pytest.mark.parametrize("scoring", [*LEARNING, SingleCall()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("familiar", [False, True])
def test_nights_get_cheaper_at_the_ladder_s_quality(scoring: Scoring, familiar: bool) -> None:
    # Given a first night on the fixed ladder, and seven nights that learn from those before
    played, _ = nights(scoring, 8, familiar, epsilon=0.05)
    # When the last nights are compared with what the ladder does on the same queries
    later = played[4:]
    same = [play(policy_of(scoring, None, epsilon=0.0), night) for night in range(4, 8)]
    # Then they are as good, within the luck of exploring, and the cascading ones cheaper
    luck = 0.04 if isinstance(scoring, Thompson) else 0.015  # one draw a night plans a whole topic
    assert np.mean([night.accuracy for night in later]) > np.mean([night.accuracy for night in same]) - luck
    if not isinstance(scoring, SingleCall):
        assert np.mean([night.usd for night in later]) < 0.95 * np.mean([night.usd for night in same])


@pytest.mark.parametrize("scoring", LEARNING, ids=lambda each: type(each).__name__)
def test_hard_queries_go_where_they_are_answered(scoring: Scoring, learned: Statistics) -> None:
    queries = queries_of(400, 1)
    plans = policy_of(scoring, learned, epsilon=0.0).plan(
        queries, [in_topic(each, False) for each in queries], PIN
    )
    goes = {
        topic: Counter(upto(plan) for plan, query in zip(plans, queries, strict=True) if query.text == topic)
        for topic in ("plain", "hard")
    }
    assert TIERS[2] not in goes["plain"].most_common(1)[0][0]
    assert TIERS[2] in goes["hard"].most_common(1)[0][0]


@pytest.mark.parametrize("scoring", [*LEARNING, SingleCall()], ids=lambda each: type(each).__name__)
def test_before_its_first_version_a_policy_walks_the_ladder_and_explores(scoring: Scoring) -> None:
    queries = queries_of(400, 1)
    plans = policy_of(scoring, None, epsilon=0.1).plan(
        queries, [in_topic(each, False) for each in queries], PIN
    )
    routes = Counter(plan.route for plan in plans)
    assert {plan.tiers for plan in plans if plan.route == "ladder"} == {TIERS}
    assert 15 < routes["explore"] < 70
    assert all(plan.propensity for plan in plans)
    assert {plan.policy_version for plan in plans} == {"game@0"}


def test_a_plan_goes_up_the_ladder_where_an_answer_is_not_valid(learned: Statistics) -> None:
    queries = queries_of(50, 1)
    for plan in policy_of(EpsilonGreedy(), learned, epsilon=1.0).plan(
        queries, [in_topic(each, False) for each in queries], PIN
    ):
        asked = upto(plan)
        assert plan.tiers == asked + TIERS[TIERS.index(asked[-1]) + 1 :]
        assert plan.accept == tuple(0.0 if tier == asked[-1] else 0.8 for tier in plan.tiers)


def test_familiar_queries_are_planned_by_their_category_and_others_are_not(learned: Statistics) -> None:
    queries = queries_of(40, 1)
    assigned = [in_topic(query, familiar=row % 2 == 0) for row, query in enumerate(queries)]
    plans = policy_of(EpsilonGreedy(), learned, epsilon=0.0).plan(queries, assigned, PIN)
    assert [plan.route for plan in plans] == ["taxonomy", "learned"] * 20


def test_a_category_that_is_hardly_known_is_left_to_the_learned_model(learned: Statistics) -> None:
    queries = queries_of(10, 1)
    poor = replace(learned, suited=learned.suited * 0.001)
    plans = policy_of(EpsilonGreedy(), poor, epsilon=0.0).plan(
        queries, [in_topic(each, True) for each in queries], PIN
    )
    assert {plan.route for plan in plans} == {"learned"}


@pytest.mark.parametrize("scoring", [*LEARNING, SingleCall()], ids=lambda each: type(each).__name__)
def test_a_redelivery_plans_alike_and_another_seed_does_not(scoring: Scoring, learned: Statistics) -> None:
    queries = queries_of(200, 1)
    assigned = [in_topic(each, False) for each in queries]
    first = policy_of(scoring, learned, epsilon=0.3).plan(queries, assigned, PIN)
    again = policy_of(scoring, learned, epsilon=0.3).plan(queries[::-1], assigned[::-1], PIN)[::-1]
    other = policy_of(scoring, learned, epsilon=0.3).plan(
        queries, assigned, Pin(policy_version="game@1", price_of_money=50.0, seed=4)
    )
    assert first == again
    assert first != other


def test_only_thompson_s_propensities_are_unknown(learned: Statistics) -> None:
    queries = queries_of(5, 1)
    assigned = [in_topic(each, False) for each in queries]
    for scoring in (*LEARNING, SingleCall()):
        plans = policy_of(scoring, learned).plan(queries, assigned, PIN)
        assert {plan.propensity is None for plan in plans} == {isinstance(scoring, Thompson)}


def test_a_policy_of_single_calls_asks_one_tier(learned: Statistics) -> None:
    queries = queries_of(100, 1)
    plans = policy_of(SingleCall(), learned, epsilon=0.5).plan(
        queries, [in_topic(each, False) for each in queries], PIN
    )
    assert {len(upto(plan)) for plan in plans} == {1}


def test_a_price_change_needs_no_relearning(learned: Statistics) -> None:
    # Given what was learned while the large tier was dear
    queries = queries_of(100, 1)
    assigned = [in_topic(each, False) for each in queries]
    free = ladder(prices={**PRICES, TIERS[2]: price_of(input=Decimal("0.001"), output=Decimal("0.001"))})
    # When its price falls below all others, with nothing learned anew
    plans = policy_of(EpsilonGreedy(), learned, epsilon=0.0, tiers=free).plan(queries, assigned, PIN)
    # Then hard queries go straight to it
    assert {upto(plan) for plan, query in zip(plans, queries, strict=True) if query.text == "hard"} == {
        (TIERS[2],)
    }


def test_money_running_short_raises_its_price(learned: Statistics) -> None:
    policy = policy_of(EpsilonGreedy(), learned)
    enough, short = policy.price_of_money(1.0), policy.price_of_money(1e-5)
    assert short > enough > 0
    assert policy_of(EpsilonGreedy(), learned, price=7.0).price_of_money(1.0) == 7.0


def test_an_optimistic_policy_tries_a_new_tier_first(learned: Statistics) -> None:
    # Given a tier that joined the ladder, as dear as the middle one and of middling trust
    name = TierName("new")
    tiers = ladder(
        tiers=(*TIERS, name),
        accept=np.full(4, 0.8),
        trust={**dict.fromkeys(TIERS, 0.7), name: 0.85},
        prices={**PRICES, name: PRICES[TIERS[1]]},
    )
    queries = queries_of(200, 1)
    assigned = [in_topic(each, False) for each in queries]
    plans = policy_of(LinUCB(), learned, epsilon=0.0, tiers=tiers).plan(queries, assigned, PIN)
    assert sum(name in upto(plan) for plan in plans) > 50
    # And a tier that left it is forgotten by nobody
    assert with_tier(learned, name, 0.85).tiers == (*TIERS, name)


def test_a_new_tier_begins_its_share_of_plans_until_it_is_known(learned: Statistics) -> None:
    # Given a tier that joined the ladder, of which the version that stands has seen nothing
    name = TierName("new")
    tiers = ladder(
        tiers=(TIERS[0], name, *TIERS[1:]),
        accept=np.full(4, 0.8),
        trust={**dict.fromkeys(TIERS, 0.7), name: 0.1},
        prices={**PRICES, name: PRICES[TIERS[1]]},
    )
    queries = queries_of(1000, 1)
    assigned = [in_topic(each, False) for each in queries]

    def profiled(stats: Statistics, share: float) -> list[Plan]:
        policy = policy_of(EpsilonGreedy(), stats, epsilon=0.0, tiers=tiers, profile=share)
        return [plan for plan in policy.plan(queries, assigned, PIN) if plan.tiers[0] == name]

    # Then a share of queries is put to it first, by chance alone; above it is what was best without it
    plans = profiled(learned, 0.2)
    assert 150 < len(plans) < 250
    assert {(plan.route, plan.propensity) for plan in plans} == {("explore", 0.2)}
    assert all(TIERS[0] not in plan.tiers for plan in plans)
    assert profiled(learned, 0.0) == []
    # When it has been seen enough, then no more than its worth
    known = with_tier(learned, name, 0.1)
    known.gram[-1, 0, 0] = PROFILED
    assert profiled(known, 0.2) == []


def test_a_version_s_plans_are_made_again_and_an_explored_one_is_not(learned: Statistics) -> None:
    queries = queries_of(300, 1)
    assigned = [in_topic(each, False) for each in queries]
    flags = {"replans": True, "fuses": True}
    plans = policy_of(EpsilonGreedy(), learned, epsilon=0.3, **flags).plan(queries, assigned, PIN)

    assert {plan.onward is None for plan in plans if plan.route == "explore"} == {True}
    assert {plan.onward is None for plan in plans if plan.route == "learned"} == {False}
    assert all(plan.fuses and set(plan.voices) == set(TIERS) for plan in plans)
    # And nothing is known to plan by before the first version
    first = policy_of(EpsilonGreedy(), None, **flags).plan(queries, assigned, PIN)
    assert {plan.onward for plan in first} == {None}


def test_a_batch_without_queries_has_no_plans(learned: Statistics) -> None:
    assert policy_of(LinUCB(), learned).plan([], [], PIN) == []


def test_rewards_of_nobody_change_nothing() -> None:
    night = play(policy_of(EpsilonGreedy(), None), 0, count=50)
    graded = replace(night.graded, weight=np.zeros(len(night.graded.weight)))
    assert not added(nothing_seen(), graded).gram.any()
