"""The rest of a plan, planned again by the planner's own rule once an answer is there."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.router.onward import MARGIN, Prospect, Replanner, laid_out
from pipeline.router.planner import Path
from schemas.ids import TierName
from schemas.records import Plan
from tests.unit.router.test_planner import outlook

TIERS = tuple(map(TierName, ("small", "middle", "large")))
ACCEPT = np.array([0.8, 0.8, 0.8])
PRICE = 0.01
RULE = Replanner(outlook(), TIERS, ACCEPT, price=PRICE, fuses=False)
PROSPECT = Prospect(RULE, (0, 1, 2), likely=(0.6, 0.8, 0.9), usd=(1.0, 10.0, 100.0))


def plan_of(path: Path, prospect: Prospect = PROSPECT) -> Plan:
    asked, accept = laid_out(prospect.allowed, ACCEPT, path)
    tiers = tuple(TIERS[tier] for tier in asked)
    return Plan(tiers=tiers, accept=accept, route="learned", policy_version="p@1", onward=prospect)


def after(path: Path, confidence: float, prospect: Prospect = PROSPECT, asked: int = 1) -> Plan:
    plan = plan_of(path, prospect)
    return prospect.replan(plan, plan.tiers[:asked], confidence, confidence)


def ways(plan: Plan) -> tuple[str, ...]:
    return plan.tiers[: plan.planned]


def test_a_doubtful_answer_sends_a_query_on_that_was_to_stop() -> None:
    changed = after((0,), 0.2)

    assert ways(changed) == ("small", "middle")
    assert changed.accept == (0.8, 0.0, 0.8)  # the first is to be believed again, the last not to be doubted
    assert changed.tiers[-1] == "large"  # for answers that are not valid


def test_an_answer_as_good_as_the_next_ones_ends_a_plan() -> None:
    # Given a plan up the whole ladder, whose next tiers are no likelier to be right than what is there
    changed = after((0, 1, 2), 0.75)

    assert ways(changed) == ("small",)
    assert changed.accept[0] == 0.0


def test_a_tier_that_is_not_worth_its_price_is_left_out() -> None:
    dear = replace(PROSPECT, usd=(1.0, 19.0, 20.0))

    assert ways(after((0, 1), 0.05, dear)) == ("small", "large")


def test_believed_answers_and_the_last_tier_change_nothing() -> None:
    plan = plan_of((0, 2))

    assert PROSPECT.replan(plan, plan.tiers[:1], 0.8, 0.8) is plan
    assert PROSPECT.replan(plan, plan.tiers[:2], 0.1, 0.1) is plan


@pytest.mark.parametrize("standing", np.linspace(0, 1, 21).tolist())
@pytest.mark.parametrize("path", [(0,), (0, 1), (0, 2), (0, 1, 2)])
def test_a_plan_is_left_only_for_one_that_is_worth_more_by_the_margin(path: Path, standing: float) -> None:
    # Given every way on with its worth, by the planner's own figures
    likely, usd = np.array([PROSPECT.likely]), np.array([PROSPECT.usd])
    found, [chosen] = RULE.rest(likely, usd, (0,), path[1:], (1, 2), np.array([standing]))
    worth = {(): standing} | {
        (1,): 0.7 - PRICE * 10,
        (2,): 0.8 - PRICE * 100,
        (1, 2): 0.63 + 0.28 * 0.7 - PRICE * (10 + 0.28 * 100),
    }
    # Then the best is taken where it beats the planned one by more than the margin
    best = max(worth.values())
    assert worth[found[chosen]] == pytest.approx(
        best if best > worth[path[1:]] + MARGIN else worth[path[1:]], abs=1e-9
    )


def test_dear_money_ends_plans_sooner() -> None:
    poor = replace(PROSPECT, rule=replace(RULE, price=1.0))

    assert ways(after((0, 1), 0.3)) == ("small", "middle")
    assert ways(after((0, 1), 0.3, poor)) == ("small",)


def test_only_allowed_tiers_are_planned() -> None:
    prospect = replace(PROSPECT, allowed=(0, 2), usd=(1.0, 10.0, 20.0))

    assert set(after((0,), 0.1, prospect).tiers) == {"small", "large"}


def test_a_fused_answer_gives_way_only_to_a_likelier_one() -> None:
    # Given an answer that stands at .68 beside a tier that is right at .7: believed at .9, else outvoted
    likely, usd, standing = np.array([PROSPECT.likely]), np.zeros((1, 3)), np.array([0.68])
    alone = RULE.rest(likely, usd, (0,), (), (1,), standing)[1][0]
    fused = replace(RULE, fuses=True).rest(likely, usd, (0,), (), (1,), standing)[1][0]
    # Then the call pays for itself only where both can be used
    assert (alone, fused) == (0, 1)


def test_the_same_answers_lead_the_same_way_and_prospects_are_equal_by_what_they_hold() -> None:
    other = Prospect(replace(RULE), (0, 1, 2), PROSPECT.likely, PROSPECT.usd)

    assert after((0,), 0.2) == after((0,), 0.2, other)
    assert plan_of((0,)) == plan_of((0,), other)
    assert plan_of((0,)) != plan_of((0,), replace(other, likely=(0.5, 0.8, 0.9)))
