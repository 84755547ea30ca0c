"""The latest job beside those before: what chance does not explain is drift."""

from typing import Any

import numpy as np

from pipeline.learning.drift import Drift, find_drift
from pipeline.learning.learner import Learner
from tests.unit.learning.rewards import answers, learner_of, reward

SKILL = (0.9, 0.8, 0.95)


async def drift(learner: Learner, **latest: Any) -> Drift:
    """Three jobs alike, and a fourth."""
    for number in range(3):
        await reward(learner, rows(learner, f"j{number}", seed=number, finished_at=1_000 + number))
    given = {"skill": SKILL, "seed": 9, "finished_at": 9_000, **latest}
    await reward(learner, rows(learner, "latest", **given))
    return await find_drift(learner.storage, learner.scope)


def rows(
    learner: Learner, job: str, shares: tuple[float, float] = (0.5, 0.5), **given: Any
) -> list[dict[str, Any]]:
    """Answers "a" and "b", categories likewise, in these shares."""
    made = answers(learner, job, **{"skill": SKILL, **given})
    for row in made:
        row["answer"] = row["category"] = "ab"[
            int(np.random.default_rng(row["query_key"]).random() >= shares[0])
        ]
    return made


async def test_jobs_alike_do_not_drift() -> None:
    found = await drift(learner_of())
    assert found.latest == "latest"
    assert {test.what for test in found.tests} == {"reward", "categories", "labels"}
    assert not found.found


async def test_a_tier_that_is_wrong_more_often_drifts() -> None:
    found = await drift(learner_of(), skill=(0.8, 0.8, 0.95))
    [test] = [test for test in found.tests if test.drifted]
    assert (test.what, test.name) == ("reward", "t0 m0")
    assert -0.15 < test.change < -0.05
    assert test.p < 1e-4


async def test_queries_of_another_kind_drift() -> None:
    found = await drift(learner_of(), shares=(0.7, 0.3))
    assert {test.what for test in found.tests if test.drifted} == {"categories", "labels"}


async def test_nothing_rewarded_is_no_drift() -> None:
    found = await find_drift(learner_of().storage, "nothing")
    assert (found.latest, found.found) == (None, False)
