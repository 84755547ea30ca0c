"""One batch and what can happen to it: poison, time that is up, zombies, outages of the lake."""

import asyncio
from typing import Any

import pytest

from pipeline import flow
from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.storage.commits import create_commit
from pipeline.work import Timing, Work
from schemas import lake
from schemas.errors import LakeUnreachable
from schemas.ids import BatchIndex, Generation
from tests.faults.desk import BOUND, JOB, LEASE_MS, Desk, Died, Meter, Process, Said, total
from workers.inline import work_inline

ONE, FIRST = Generation(1), BatchIndex(0)
TEXTS = ["one", "two", "three"]
TREE = {"categories": [{"name": "red", "description": "red"}, {"name": "blue", "description": "blue"}]}


@pytest.mark.parametrize("where", ["categorised", "_walk_all"])
async def test_a_batch_that_ends_its_holder_each_time_is_given_up(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch whose holders all die before they have journalled anything
    desk = await Desk().open([TEXTS, ["four"]])

    async def die(*_: Any) -> None:
        raise Died(where)

    with monkeypatch.context() as patch:
        patch.setattr(flow, where, die)
        for _ in range(desk.timing.poison):
            with pytest.raises(Died):
                await take_batch(await desk.start(), ONE, FIRST)
            desk.now += LEASE_MS
        # When it is taken up once more
        taken, left = await take_batch(await desk.start(), ONE, FIRST)
    # Then it is given up, and the rest of the job goes on and closes
    assert (taken, left) == ("committed", 1)
    row = await work_inline(await desk.start())
    assert row.state == "closed"
    await desk.check_closed(4)
    ended = {each["query_id"]: (each["status"], each["reason"]) for each in desk.table("results")}
    assert all(ended[f"q{number}"][0] == "failed" for number in range(3))
    assert all(ended[f"q{number}"][1].startswith("poison") for number in range(3))
    assert ended["q3"][0] == "answered"
    assert len(desk.meter.lines) == 1


async def test_a_batch_that_gets_on_is_no_poison() -> None:
    # Given a batch whose holders each die once they have journalled some replies
    desk = await Desk().open([[f"text {number}" for number in range(40)]])
    for _ in range(desk.timing.poison + 2):
        with pytest.raises(Died):
            await take_batch(await desk.start(Process(dies_at="after settle")), ONE, FIRST)
        desk.now += LEASE_MS
    # When it is taken up again, then all are answered
    await work_inline(await desk.start())
    await desk.check_closed(40)
    assert {each["status"] for each in desk.table("results")} == {"answered"}


async def test_an_outage_of_the_lake_is_no_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a batch that was answered, and a lake that does not take its parts for long
    desk = await Desk().open([TEXTS])

    async def gone(*_: Any) -> None:
        raise LakeUnreachable(url="memory://", why="gone")

    with monkeypatch.context() as patch:
        patch.setattr(flow, "write_part", gone)
        for _ in range(2 * desk.timing.poison):
            with pytest.raises(LakeUnreachable):
                await take_batch(await desk.start(), ONE, FIRST)
    # When the lake is back, then the answers that were paid for stand
    await work_inline(await desk.start())
    await desk.check_closed(3)
    assert {each["status"] for each in desk.table("results")} == {"answered"}
    assert len(desk.meter.lines) == 3


async def test_a_batch_that_yields_is_taken_up_without_paying_twice() -> None:
    # Given batches that must yield almost at once, at a provider that takes a while
    desk = Desk(timing=Timing(lease=30, batch=0))
    desk.meter.look = lambda: asyncio.sleep(0.015)
    await desk.open([[f"text {number}" for number in range(40)]])
    # When they are taken up until all is done
    yields = 0
    while (await take_batch(await desk.start(), ONE, FIRST))[0] == "yielded":
        yields += 1
        assert (await desk.account()).held == 0
    # Then each query was paid once, and a batch given back in good order did not count as an attempt
    assert yields > 2
    assert await close_generation(await desk.start(), ONE)
    await desk.check_closed(40)
    assert len(desk.meter.lines) == 40
    assert {each["status"] for each in desk.table("results")} == {"answered"}


@pytest.mark.parametrize("slow", [False, True])
async def test_while_a_batch_yields_nobody_pays_again_for_what_is_in_flight(slow: bool) -> None:
    # Given a batch whose time is up while its calls, or those that categorise it, are in flight for longer
    # than its lease
    gate = asyncio.Event()
    desk = Desk(timing=Timing(lease=90, batch=1))
    taxonomy: dict[str, Any] = (
        {"taxonomy": {"tree": TREE, "slow_tier": "t0", "familiar_margin": 1.0}} if slow else {}
    )
    await desk.open([[f"text {number}" for number in range(12)]], **taxonomy)

    async def one_by_one() -> None:
        number = len(desk.meter.lines)
        await gate.wait()
        await asyncio.sleep(0.01 * number)

    desk.meter.look = one_by_one
    running = asyncio.create_task(take_batch(await desk.start(), ONE, FIRST))
    while len(desk.meter.lines) < 4:  # as many as its tier takes at once
        await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0.015)
        desk.now += 15
        # When others try to take it, then they are refused
        taken = take_batch(await desk.start(), ONE, FIRST)
        assert await asyncio.wait_for(taken, 60) == ("leased", None)
    gate.set()
    assert (await running)[0] == "yielded"
    # And once it is given back, nothing is in flight
    assert (await desk.account()).held == 0
    desk.timing = Timing(lease=LEASE_MS)
    await work_inline(await desk.start())
    await desk.check_closed(12)
    assert not any(call.presumed for call in await desk.calls())


async def overtaken(desk: Desk) -> "asyncio.Task[Any]":
    """Holder A's lease ran out with its calls in flight; holder B has asked again and committed."""
    desk.meter.gate = asyncio.Event()
    zombie = asyncio.create_task(take_batch(await desk.start(label="a"), ONE, FIRST))
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if len(desk.meter.lines) == len(TEXTS):
            break
    desk.now += LEASE_MS
    gate, desk.meter.gate = desk.meter.gate, None
    assert await take_batch(await desk.start(label="b"), ONE, FIRST) == ("committed", 0)
    gate.set()
    return zombie


async def test_a_zombie_is_paid_but_its_rows_are_not_read() -> None:
    # Given a holder that was overtaken
    costs = iter([30, 31, 32, 50, 51, 52])
    desk = await Desk(meter=Meter(script=lambda number: Said("ok", next(costs)))).open([TEXTS])
    zombie = await overtaken(desk)
    before = await desk.account()
    assert (before.presumed, before.held) == (3 * BOUND, 0)
    # When its replies come in after all
    assert (await zombie)[0] == "lost"
    # Then they are recorded at their true cost, and the rows are those of the one who committed
    assert await close_generation(await desk.start(), ONE)
    account = await desk.account()
    assert (account.spent, account.presumed, account.held) == (sum(desk.meter.lines.values()), 0, 0)
    await desk.check_money()
    await desk.check_books(3)
    assert [each["answer"] for each in desk.table("results")] == ["b"] * 3
    assert total(await desk.calls()) == 30 + 31 + 32 + 50 + 51 + 52


async def test_a_holder_paused_between_hold_and_send_sends_nothing() -> None:
    # Given a holder that is paused past its lease with holds in hand, and overtaken meanwhile
    class Paused(Process):
        async def step(self, name: str) -> None:
            await super().step(name)
            if name == "after hold" and self.overtaker is None:
                desk.now += LEASE_MS
                self.overtaker = asyncio.create_task(take_batch(await desk.start(), ONE, FIRST))
            if self.overtaker is not None:
                await asyncio.wait([self.overtaker])

        overtaker: "asyncio.Task[Any] | None" = None

    desk = await Desk().open([TEXTS])
    # When it goes on
    assert (await take_batch(await desk.start(Paused(), label="z"), ONE, FIRST))[0] == "yielded"
    # Then nothing was sent twice, and what it had set aside is free again
    assert await close_generation(await desk.start(), ONE)
    await desk.check_closed(3)
    assert len(desk.meter.lines) == 3
    account = await desk.account()
    assert (account.spent, account.presumed) == (desk.meter.total, 0)


async def test_of_two_who_write_parts_the_first_to_commit_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a holder that has written its parts and stops before the commit point, its lease just renewed
    desk = await Desk().open([TEXTS])
    stopped, go = asyncio.Event(), asyncio.Event()

    async def late(*given: Any) -> bool:
        stopped.set()
        await go.wait()
        return await create_commit(*given)

    monkeypatch.setattr(flow, "create_commit", late)
    zombie = asyncio.create_task(take_batch(await desk.start(label="a"), ONE, FIRST))
    await stopped.wait()
    monkeypatch.setattr(flow, "create_commit", create_commit)
    # When its lease runs out and another answers the batch from the journal and commits
    desk.now += LEASE_MS
    assert await take_batch(await desk.start(label="b"), ONE, FIRST) == ("committed", 0)
    go.set()
    assert (await zombie)[0] == "committed"
    # Then the second's parts stand, the zombie's are there but nobody names them
    assert await close_generation(await desk.start(), ONE)
    await desk.check_closed(3)
    parts = [key for key in desk.objects if key.startswith(lake.live("results", JOB))]
    assert sorted(key[-len("f1.parquet") :] for key in parts) == ["f1.parquet", "f2.parquet"]
    assert b"-f1.parquet" not in desk.objects[lake.commit(JOB, ONE, FIRST)]
    assert len(desk.meter.lines) == 3


async def test_a_redelivered_batch_that_is_committed_costs_nothing() -> None:
    desk = await Desk().open([TEXTS])
    work: Work = await desk.start()
    assert (await take_batch(work, ONE, FIRST))[0] == "committed"
    assert (await take_batch(work, ONE, FIRST))[0] == "committed"
    assert await close_generation(work, ONE)
    assert (await take_batch(work, ONE, FIRST))[0] == "closed"
    await desk.check_closed(3)
    assert len(desk.meter.lines) == 3
