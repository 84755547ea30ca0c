"""Killed between the lake and the ledger, or anywhere in closing: the same tables in the end."""

import asyncio
from typing import Any

import msgspec
import pytest

from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.ledger.memory import MemoryLedger
from pipeline.ports.ledger import Settlement
from schemas import lake
from schemas.ids import BatchIndex, Generation, Nano
from schemas.tables import BATCH_TABLES
from tests.faults.desk import JOB, LEASE_MS, Desk, Died, Meter, Process, Said
from workers.inline import work_inline

ONE, FIRST = Generation(1), BatchIndex(0)
TEXTS = ["one", "two", "one"]
PUBLISHED = [*BATCH_TABLES, "documents", "jobs"]


async def killed(desk: Desk, step: str) -> None:
    """A process works on the job and dies at that step; then its leases run out."""
    work = await desk.start(Process(dies_at=step))
    with pytest.raises((Died, BaseExceptionGroup)) as caught:
        await work_inline(work)
    assert not isinstance(caught.value, BaseExceptionGroup) or caught.value.split(Died)[1] is None
    desk.now += LEASE_MS


def tables(desk: Desk) -> dict[str, Any]:
    """The final tables, without what tells one run from the other: who made a call and when."""
    own = ("call_id", "request_hash", "sent_at", "finished_at", "latency_ms", "closed_at", "created_at")
    return {
        name: sorted(
            repr({column: value for column, value in row.items() if column not in own})
            for row in desk.table(name)
        )
        for name in PUBLISHED
    }


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_around_the_commit_point(moment: str) -> None:
    # Given a process that dies just before or after its commit point is made, before the ledger hears of it
    desk = await Desk().open([TEXTS])
    await killed(desk, f"{moment} {lake.commit(JOB, ONE, FIRST)}")
    assert (await desk.row()).committed == 0
    commit = desk.objects.get(lake.commit(JOB, ONE, FIRST))
    # When another takes the batch up
    assert await take_batch(await desk.start(), ONE, FIRST) == ("committed", 0)
    # Then a commit that stands stays as it is; nothing is asked again either way
    assert commit in (None, desk.objects[lake.commit(JOB, ONE, FIRST)])
    assert any(key.endswith("-f2.parquet") for key in desk.objects) == (moment == "before")
    assert await close_generation(await desk.start(), ONE)
    await desk.check_closed(3)
    assert len(desk.meter.lines) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("table", PUBLISHED)
async def test_killed_while_closing(table: str, moment: str) -> None:
    # Given the same job once left in peace, and once killed as it publishes that table
    meters = [Meter(script=lambda number: Said("cut" if number == 1 else "ok", 40)) for _ in range(2)]
    peaceful, desk = [await Desk(meter=meter).open([TEXTS, ["four"]]) for meter in meters]
    await work_inline(await peaceful.start(), in_flight=1)
    work = await desk.start()
    for batch in range(2):
        await take_batch(work, ONE, BatchIndex(batch))
    await killed(desk, f"{moment} {lake.final(table, JOB)}")
    # When it is closed by another
    assert (await desk.row()).state == "closing"
    await work_inline(await desk.start())
    # Then its tables are the same, and closing it once more changes nothing
    await desk.check_closed(4)
    assert tables(desk) == tables(peaceful)
    assert await close_generation(await desk.start(), ONE)
    assert tables(desk) == tables(peaceful)


async def test_a_call_that_is_settled_while_its_job_is_closed() -> None:
    # Given a holder that was overtaken with its calls in flight, and charged in full
    desk = await Desk(meter=Meter(script=lambda number: Said("ok", 30))).open([TEXTS])
    zombie, gate = await overtaken(desk)
    assert (await desk.account()).presumed > 0

    class Meanwhile(Process):
        async def step(self, name: str) -> None:
            await super().step(name)
            if name == f"after {lake.final('calls', JOB)}":
                gate.set()
                await asyncio.wait([zombie])

    # When its replies come in after the calls were published, and before the rest is
    assert await close_generation(await desk.start(Meanwhile()), ONE)
    # Then all tables tell the same
    assert (await desk.account()).presumed == 0
    await desk.check_books(3)


async def overtaken(desk: Desk) -> tuple["asyncio.Task[Any]", asyncio.Event]:
    """Its calls wait for the event; another has answered the batch again and committed it."""
    desk.meter.gate = gate = asyncio.Event()
    zombie = asyncio.create_task(take_batch(await desk.start(), ONE, FIRST))
    while not desk.meter.lines:
        await asyncio.sleep(0.001)
    desk.now += LEASE_MS
    desk.meter.gate = None
    assert await take_batch(await desk.start(), ONE, FIRST) == ("committed", 0)
    return zombie, gate


async def test_a_closing_that_is_under_way_elsewhere_is_left_alone() -> None:
    desk = await Desk().open([TEXTS])
    assert (await take_batch(await desk.start(), ONE, FIRST)) == ("committed", 0)
    await desk.ledger.take(f"close/{JOB}/1", owner="another", now=desk.now, ttl_ms=LEASE_MS)
    assert not await close_generation(await desk.start(), ONE)
    assert lake.final("results", JOB) not in desk.objects
    # When it ran out, then it is done again
    desk.now += LEASE_MS
    assert await close_generation(await desk.start(), ONE)
    await desk.check_closed(3)


async def test_close_killed_in_a_second_generation() -> None:
    # Given a job whose second query could not be paid, then resumed
    from pipeline.resume import resume

    desk = await Desk().open([["one", "two"]], cap=130)
    await work_inline(await desk.start())
    assert {each["status"] for each in desk.table("results")} == {"answered", "deferred"}
    await resume((await desk.start()).services, JOB, Nano(1000))
    # When its closing is killed in the middle
    await killed(desk, f"after {lake.final('calls', JOB)}")
    await work_inline(await desk.start())
    # Then the generation is whole
    await desk.check_closed(2)
    assert {each["status"] for each in desk.table("results")} == {"answered"}
    assert len(desk.meter.lines) == 2


async def test_a_call_settled_late_costs_its_own_batch_a_second_look() -> None:
    # Given three batches, the first call of the second one cut, its reply known only after the commits
    desk = await Desk(meter=Meter(script=lambda number: Said("cut" if number == 1 else "ok", 40))).open(
        [["one"], ["two"], ["three"]]
    )
    work = await desk.start()
    for batch in range(3):
        await take_batch(work, ONE, BatchIndex(batch))
    [cut] = [call for call in await desk.calls() if call.presumed]
    reply = msgspec.json.encode({"text": "a", "finish": "stop", "cost": 40})
    await desk.ledger.settle(
        Settlement(call_id=cut.call_id, outcome="ok", cost=Nano(40), body=reply, finish_reason="stop")
    )
    # When the job is closed
    read: list[Any] = []

    class Watched(MemoryLedger):
        async def calls(self, *place: Any) -> Any:
            read.extend(place[2:])
            return await MemoryLedger.calls(self, *place)

    desk.ledger.__class__ = Watched
    assert await close_generation(await desk.start(), ONE)
    # Then every table has the true cost, and only that batch was read again
    await desk.check_closed(3)
    assert not any(call["presumed"] for call in desk.table("calls"))
    assert set(read) == {cut.batch} == {1}
