"""Which version a batch is routed by, and when a running job learns."""

import pytest

from pipeline.flow import take_batch
from pipeline.learning.learner import Learner
from pipeline.learning.store import (
    Version,
    create_version,
    promote,
    read_promotions,
    read_versions,
    roll_back,
    standing,
)
from pipeline.router import snapshot, statistics
from pipeline.router.snapshot import Snapshot
from pipeline.taxonomy.tree import ROOT
from pipeline.wiring.work import open_learner
from schemas.errors import UnknownPolicy
from schemas.ids import BatchIndex, Generation, QueryId
from schemas.records import Pin, Query
from tests.faults.desk import JOB, LEASE_MS, Desk, Died, Process, job_spec
from tests.unit.learning.rewards import learner_of
from workers.inline import work_inline

ONE, FIRST = Generation(1), BatchIndex(0)


async def stands(learner: Learner, version: str) -> None:
    """A version that has seen nothing, promoted."""
    stats = statistics.empty({}, ("",), learner.features.version, learner.features.dimensions)
    made = Snapshot(version=f"{learner.policy}@{version}", parents=(), rewards=(), statistics=stats)
    data = snapshot.encode(made)
    await create_version(
        learner.storage,
        Version(
            policy=learner.policy,
            version=version,
            parents=(),
            rewards=(),
            rows=0,
            created_at=1,
            snapshot=data,
        ),
    )
    last = await standing(learner.storage, learner.policy)
    assert await promote(learner.storage, learner.policy, version, last, reason="test", at=1)


async def test_a_redelivered_batch_stays_with_the_version_of_its_first_lease() -> None:
    # Given a job of two batches, the first of which dies with its process under version one
    desk = await Desk().open([["one", "two"], ["three"]], tiers=2, policy="epsilon-greedy")
    work = await desk.start(Process(dies_at="send"))
    learner = await open_learner((await desk.start()).services, JOB, "epsilon-greedy")
    await stands(learner, "one")
    with pytest.raises((Died, BaseExceptionGroup)):
        await take_batch(work, ONE, FIRST)
    # When another version stands by the time it is taken up again
    await stands(learner, "two")
    desk.now += LEASE_MS
    await work_inline(await desk.start())
    # Then that batch alone is routed by the first
    routed = {(row["batch"], row["policy_version"].partition("@")[2]) for row in desk.table("results")}
    assert routed == {(0, "one"), (1, "two")}


async def test_a_frozen_job_stays_with_its_version() -> None:
    desk = await Desk().open([["one"]], policy="thompson@one")
    learner = await open_learner((await desk.start()).services, JOB, "thompson")
    await stands(learner, "one")
    await stands(learner, "two")
    await work_inline(await desk.start())
    assert [row["policy_version"] for row in desk.table("results")] == [f"{learner.policy}@one"]


async def test_a_running_job_learns_every_so_many_batches_and_at_its_end() -> None:
    # Given five batches, and an update after every second
    texts = [[f"text {batch} {number}" for number in range(3)] for batch in range(5)]
    desk = await Desk().open(texts, policy={"name": "thompson", "update_every": 2})
    await work_inline(await desk.start(), in_flight=1)
    learner = await open_learner((await desk.start()).services, JOB, "thompson")
    # Then there are three versions, each fitted on what the one before was and more
    made = sorted(await read_versions(learner.storage, learner.policy), key=lambda each: each.rows)
    assert [len(each.rewards) for each in made] == [1, 2, 3]
    assert set(made[0].rewards) < set(made[1].rewards) < set(made[2].rewards)


async def test_rolling_back_names_a_version_that_is_there() -> None:
    learner = learner_of()
    with pytest.raises(UnknownPolicy, match="nothing was promoted"):
        await roll_back(learner.storage, learner.policy, None, 2)
    for version in ("one", "two"):
        await stands(learner, version)
    with pytest.raises(UnknownPolicy, match="no such version"):
        await roll_back(learner.storage, learner.policy, "three", 2)
    for wanted, then in ((None, "one"), (None, "0"), ("two", "two"), (None, "one")):
        assert (await roll_back(learner.storage, learner.policy, wanted, 2)).version == then
    assert [each.number for each in await read_promotions(learner.storage, learner.policy)] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


async def learning_desk() -> Desk:
    return await Desk().open([["one", "two"], ["three"]], tiers=2, policy="thompson")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("table", ["rewards", "policies"])
async def test_killed_while_it_learns(table: str, moment: str) -> None:
    # Given the same job once left in peace, and once killed as it closes and learns
    peaceful, desk = await learning_desk(), await learning_desk()
    await work_inline(await peaceful.start(), in_flight=1)
    learned = {key for key in peaceful.objects if key.startswith(("rewards/", "policies/", "_policies/"))}
    [key] = [key for key in learned if key.startswith(f"{table}/") and "_schema" not in key]
    with pytest.raises((Died, BaseExceptionGroup)):
        await work_inline(await desk.start(Process(dies_at=f"{moment} {key}")), in_flight=1)
    assert (await desk.row()).state == "closing"
    # When another closes it
    desk.now += LEASE_MS
    await work_inline(await desk.start())
    # Then it has learned the same, once
    assert (await desk.row()).state == "closed"
    assert {
        each for each in desk.objects if each.startswith(("rewards/", "policies/", "_policies/"))
    } == learned


@pytest.mark.parametrize("quality", [None, {"target": 0.9, "reference": "t2"}])
def test_under_a_quality_target_no_answer_changes_a_plan_and_none_is_outvoted(
    quality: dict[str, object] | None,
) -> None:
    # Given a version that knows its tiers, and a job that lets answers change plans and vote
    spec = job_spec(3, policy={"name": "epsilon-greedy", "replan": True}, quality=quality)
    learner = learner_of(spec=spec)
    stats = statistics.empty(
        learner.ladder.trust, ("",), learner.features.version, learner.features.dimensions
    )
    policy = learner.build(Snapshot(version="p@1", parents=(), rewards=(), statistics=stats), epsilon=0.0)
    queries = [Query(query_id=QueryId(f"q{number}"), text="text") for number in range(20)]
    plans = policy.plan(queries, [ROOT] * 20, Pin(policy_version="p@1"))
    # Then they do, unless the job promises a quality
    assert {(plan.onward is not None, plan.fuses) for plan in plans} == {(quality is None, quality is None)}
