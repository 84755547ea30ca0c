"""What a candidate is judged by: the audit first, logged propensities second, answers as logged else."""

from typing import Any

import numpy as np
import pytest

from pipeline.learning.judging import Verdict
from pipeline.learning.learn import learn
from pipeline.learning.learner import Learner
from tests.unit.learning.rewards import TIERS, answers, learner_of, reward

SKILL = (0.99, 0.8, 0.95)


async def verdict(learner: Learner, rows: list[dict[str, Any]]) -> Verdict:
    await reward(learner, rows)
    learned = await learn(learner, 5_000)
    assert learned is not None
    return learned.verdict


@pytest.mark.parametrize("judged", [True, False])
async def test_the_audit_judges_where_there_is_one(judged: bool) -> None:
    # Given 600 queries of which 300 were audited, after their walk or by calls that no judge saw
    learner = learner_of()
    rows = answers(learner, "j1", SKILL)
    audited = {f"q{number}" for number in range(300)}
    for row in rows:
        row["audited"] = row["query_id"] in audited
        if row["audited"] and not judged:
            row["position"] = row["confidence"] = row["tiers_planned"] = row["accept_planned"] = None
    said = await verdict(learner, rows)
    # Then they alone judge, and their figures are the answers' own
    assert (said.how, said.queries, said.seen) == ("audit", 300, 1.0)
    last = [row["reward"] for row in rows if row["audited"] and row["tier"] == "t2"]
    if judged:
        assert said.accuracy_before == pytest.approx(np.mean(last))
    assert said.as_good
    assert (said.brier is None) is not judged


def explored(learner: Learner, queries: int, chance: float) -> list[dict[str, Any]]:
    """Each query was asked of one tier alone, the cheapest with this chance, the dearest else."""
    random = np.random.default_rng(3)
    kept = []
    rows = answers(learner, "j1", SKILL, queries)
    for number in range(queries):
        cheap = random.random() < chance
        row = rows[3 * number + (0 if cheap else 2)]
        above = [0.0, 1.0, 1.0] if cheap else [0.0]
        kept.append(
            row | {
                "position": 0, "tiers_left": [], "stands": True, "tiers_planned": list(TIERS) if cheap else ["t2"],
                "accept_planned": above, "propensity": chance if cheap else 1 - chance,
            }
        )  # fmt: skip
    return kept


async def test_logged_propensities_judge_where_enough_went_the_candidates_way() -> None:
    # Given 1,500 queries that a coin sent to the cheapest tier or to the dearest; no query was asked of both
    learner = learner_of({"name": "epsilon-greedy", "value_usd": "0.0001"})
    rows = explored(learner, 1500, 0.5)
    said = await verdict(learner, rows)
    # Then the estimate is near the truth, which no row shows
    assert said.how == "doubly robust"
    assert said.effective >= 100
    assert said.accuracy == pytest.approx(SKILL[0], abs=0.03)


async def test_few_that_went_its_way_judge_nothing() -> None:
    # Given a log in which one query in ten went the candidate's way
    learner = learner_of({"name": "epsilon-greedy", "value_usd": "0.0001"})
    said = await verdict(learner, explored(learner, 1500, 0.1))
    # Then neither its propensities nor its answers are enough
    assert said.how == "direct"
    assert not said.as_good
    assert "50% are needed" in said.reason


async def test_a_version_whose_plans_change_is_judged_by_the_way_answers_lead_it() -> None:
    # Given tiers that are believed by nobody but say how sure they are, half of the queries audited
    def audited(learner: Learner) -> list[dict[str, Any]]:
        rows = answers(learner, "j1", (0.7, 0.7, 0.98))
        for row in rows:
            row["confidence"] = 0.7 if row["reward"] else 0.3
            row["audited"] = int(row["query_id"][1:]) < 300
        return rows

    policy = {"name": "epsilon-greedy", "value_usd": "0.002"}
    fixed, again = (learner_of({**policy, "replan": flag}) for flag in (False, True))
    stays, changes = await verdict(fixed, audited(fixed)), await verdict(again, audited(again))
    # Then one that goes on from a doubtful answer is seen to be right more often, and to pay for it
    assert (stays.how, changes.how, stays.queries) == ("audit", "audit", 300)
    assert changes.accuracy > stays.accuracy + 0.1
    assert changes.usd > stays.usd


async def test_a_log_of_plans_that_could_change_says_nothing_of_plans_that_cannot() -> None:
    # Given a log that would judge the candidate, were it not that answers could have changed its plans
    learner = learner_of({"name": "epsilon-greedy", "value_usd": "0.0001"})
    rows = [row | {"replans": True} for row in explored(learner, 1500, 0.5)]
    assert (await verdict(learner, rows)).how != "doubly robust"
