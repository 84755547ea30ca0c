"""A batch that is taken up again is planned as at its first lease: same version, price of money and seed."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.flow import take_batch
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import SPENT, Graded, added, empty
from pipeline.shortage import usd_per_query
from pipeline.wiring.policies import POLICIES, build_policy
from pipeline.work import Work
from schemas import lake
from schemas.ids import BatchIndex, Generation, Nano
from tests.faults.desk import ACCOUNT, JOB, USD, Desk, Died, Process
from workers.inline import work_inline

ONE, FIRST = Generation(1), BatchIndex(0)
TEXTS = [f"text {number}" for number in range(40)]


def decisions(desk: Desk) -> list[dict[str, Any]]:
    """Of the batch's parts, as they lie in the lake."""
    (key,) = [key for key in desk.objects if key.startswith(lake.live("decisions", JOB))]
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(desk.objects[key])).to_pylist()
    return rows


async def played(policy: Any, dies_at: int | None) -> list[dict[str, Any]]:
    """The decisions of a job of one batch, whose first holder may die."""
    desk = await Desk().open([TEXTS], tiers=3, policy=policy)
    if dies_at is not None:
        with pytest.raises(Died):
            await take_batch(await desk.start(Process(dies_at=dies_at)), ONE, FIRST)
        desk.now += desk.timing.lease + 1
        await desk.ledger.raise_cap(ACCOUNT, Nano(10**9))  # money would have another price now
    assert (await take_batch(await desk.start(), ONE, FIRST))[0] == "committed"
    await desk.check_money()
    return decisions(desk)


@pytest.mark.parametrize("kind", [each for each in POLICIES if each != "fixed-ladder"])
async def test_a_redelivered_batch_follows_the_plans_of_the_first(kind: str) -> None:
    # Given a policy that explores half of the time
    policy = {"name": kind, "epsilon": 0.5, "seed": 7}
    # When its batch is killed on the way, and when it is not
    whole = await played(policy, None)
    torn = await played(policy, 30)

    # Then both followed the same plans under the same pin
    def plans(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        fields = ("query_id", "route", "propensity", "policy_version", "price_of_money", "seed")
        return {(*(row[name] for name in fields), *row["tiers_planned"]) for row in rows}

    assert plans(whole) == plans(torn)
    assert {row["route"] for row in whole} == {"ladder", "explore"}
    assert len({row["seed"] for row in whole}) == 1
    # And another seed of the spec gives others
    assert plans(await played({**policy, "seed": 8}, None)) != plans(whole)


def learned(work: Work) -> Work:
    """The job with a version that expects its first tier to be right, and has seen that tier's own word to be wrong."""
    assert work.learner is not None
    tiers, features = work.learner.ladder.tiers, work.learner.features
    count = 100 * len(tiers)
    spent = np.zeros((count, len(SPENT)))
    spent[:, SPENT.index("cost_usd")] = 4e-8  # what the desk bills
    x = np.zeros((count, features.dimensions), dtype=np.float32)
    x[:, 0] = 1
    stats = added(
        empty(work.learner.ladder.trust, ("",), features.version, features.dimensions),
        Graded(
            features=x, category=np.zeros(count, dtype=np.intp), key=np.arange(count, dtype=np.uint64),
            query=np.arange(count), tier=np.arange(count) % len(tiers),
            left=np.zeros((count, len(tiers)), dtype=np.bool_), correct=np.full(count, 0.9),
            weight=np.ones(count), confidence=np.zeros(count), spent=spent,
        ),
    )  # fmt: skip
    stats.judged[0, 70] = 500, 50
    version = f"{work.learner.policy}@v"
    snapshot = Snapshot(version=version, parents=(), rewards=(), statistics=stats)
    work.learner._known[version] = work.learner.build(snapshot)
    return replace(work, learner=replace(work.learner, frozen="v"))


async def replanned(dies_at: int | None) -> list[tuple[Any, ...]]:
    """What was planned, and planned again, in a job of one batch whose first holder may die."""
    policy = {"name": "epsilon-greedy", "epsilon": 0.3, "seed": 7, "replan": True, "value_usd": "1"}
    desk = await Desk().open([TEXTS], tiers=3, policy=policy)
    if dies_at is not None:
        with pytest.raises(Died):
            await take_batch(learned(await desk.start(Process(dies_at=dies_at))), ONE, FIRST)
        desk.now += desk.timing.lease + 1
    assert (await take_batch(learned(await desk.start()), ONE, FIRST))[0] == "committed"
    await desk.check_money()
    fields = (
        "query_id",
        "position",
        "tier",
        "replans",
        "tiers_planned",
        "tiers_replanned",
        "propensity",
        "reason",
    )
    return [tuple(map(str, (row[name] for name in fields))) for row in decisions(desk)]


@pytest.mark.parametrize("dies_at", [30, 200])
async def test_a_redelivered_batch_changes_its_plans_as_the_first_did(dies_at: int) -> None:
    # Given plans that answers change, but for those that explore
    whole = await replanned(None)
    assert {"True", "False"} == {row[3] for row in whole}
    assert any("replanned: then" in row[-1] for row in whole)
    # When the batch is killed on the way and taken up again, then every query goes the same way
    assert await replanned(dies_at) == whole


async def test_the_first_lease_pins_version_and_price_for_all_that_follow() -> None:
    # Given a batch taken by a worker with one version, which dies
    desk = await Desk().open([TEXTS], tiers=2, policy="thompson")
    first = await desk.start(Process(dies_at=30))
    with pytest.raises(Died):
        await take_batch(replace(first, policy=named(first, "thompson@1")), ONE, FIRST)
    desk.now += desk.timing.lease + 1
    # When a worker takes it up that would price money otherwise
    second = await desk.start()
    priced = named(second, "thompson@1")
    priced.price_of_money = lambda usd: 123.0  # type: ignore[method-assign]
    await take_batch(replace(second, policy=priced), ONE, FIRST)
    # Then the first one's price stands
    assert {row["price_of_money"] for row in decisions(desk)} == {0.0}


def named(work: Work, version: str) -> Any:
    """The job's policy under a version's name, with nothing learned in it."""
    policy = build_policy(work.spec, work.taxonomy, work.manifest.prices)
    policy.version = version
    return policy


@pytest.mark.parametrize("cap", [0, 2_000, 10**9])
async def test_exploring_stays_within_the_cap(cap: int) -> None:
    # Given little money and a policy that explores
    desk = await Desk().open(
        [TEXTS[:20], TEXTS[20:]], cap=cap, tiers=3, policy={"name": "linucb", "epsilon": 0.7}
    )
    # When the job runs
    await work_inline(await desk.start())
    # Then every query has its row and the books are right
    await desk.check_closed(40)
    statuses = {each["status"] for each in desk.table("results")}
    assert statuses == (
        {"answered"} if cap == 10**9 else {"deferred"} if cap == 0 else {"answered", "deferred"}
    )


@pytest.mark.parametrize("cap", [2_000, 2_500])
async def test_plans_that_change_stay_within_the_cap(cap: int) -> None:
    # Given money for some of what the plans come to
    policy = {"name": "epsilon-greedy", "epsilon": 0.3, "replan": True, "value_usd": "1"}
    desk = await Desk().open([TEXTS[:20], TEXTS[20:]], cap=cap, tiers=3, policy=policy)
    # When the job runs
    await work_inline(learned(await desk.start()))
    # Then every query has its row, none but for want of money without its answer, and the books are right
    await desk.check_closed(40)
    assert {each["status"] for each in desk.table("results")} == {"answered", "deferred"}
    assert any(each["tiers_replanned"] for each in desk.table("decisions"))


async def test_money_is_divided_by_the_queries_that_are_left() -> None:
    # Given two batches of twenty queries and a cap of $4
    desk = await Desk().open([TEXTS[:20], TEXTS[20:]], cap=4 * USD)
    work = await desk.start()
    assert await usd_per_query(work, ONE) == pytest.approx(0.1)
    # When the first has been committed
    await take_batch(work, ONE, FIRST)
    # Then what it left is for the other twenty
    left = 4 - (await desk.account()).spent / USD
    assert await usd_per_query(work, ONE) == pytest.approx(left / 20)
