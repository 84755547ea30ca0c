"""What a watcher sees of a generation: batches under way, what their holders noted, calls in flight."""

import pytest
from sqlalchemy import create_engine, text

from pipeline.ledger.sql.activity import HELD
from pipeline.ports.ledger import Activity
from schemas.ids import BatchIndex, Generation, TierName
from schemas.records import Mishap, Tally, TierTally
from tests.contract.ledger.desk import TTL, Desk, ended

SMALL = TierName("small")
TALLY = Tally(
    statuses={"answered": 3, "deferred": 1},
    tiers={SMALL: TierTally(asked=4, stood=3, latency_ms=120, window=8)},
    mishaps=(Mishap(at=5, tier=SMALL, why="HTTP 500"),),
)


async def seen(desk: Desk) -> Activity:
    return await desk.ledger.activity(desk.job, Generation(1), desk.now)


async def test_batches_under_way_with_their_latest_note(desk: Desk) -> None:
    # Given three batches, of which two are leased and one has noted how far it is
    first, second = await desk.lease(1), await desk.lease(0, owner="worker-2")
    await desk.ledger.note(first, Tally(statuses={"answered": 1}))
    await desk.ledger.note(first, TALLY)
    # Then both are there in order, the note word by word
    here = (await seen(desk)).under_way
    assert [(each.batch, each.owner, each.tally) for each in here] == [
        (0, "worker-2", None),
        (1, "worker-1", TALLY),
    ]
    assert {each.lease_until for each in here} == {desk.now + TTL}
    # When one is committed and the other's lease runs out, then nothing is under way
    await desk.ledger.commit_batch(desk.job, Generation(1), BatchIndex(1))
    assert [each.batch for each in (await seen(desk)).under_way] == [second.batch]
    desk.now += TTL
    assert (await seen(desk)).under_way == []


async def test_what_a_former_holder_noted_is_not_its_successors(desk: Desk) -> None:
    former = await desk.lease()
    await desk.ledger.note(former, TALLY)
    desk.now += TTL
    latter = await desk.lease(owner="worker-2")
    assert [each.tally for each in (await seen(desk)).under_way] == [None]
    await desk.ledger.note(latter, Tally(statuses={"answered": 2}))
    await desk.ledger.note(former, TALLY)
    assert [each.tally for each in (await seen(desk)).under_way] == [Tally(statuses={"answered": 2})]


async def test_calls_in_flight_by_tier(desk: Desk) -> None:
    lease = await desk.lease()
    done = await desk.held(lease)
    await desk.held(lease)
    await desk.held(lease, tier="large")
    await desk.ledger.settle(ended(done))
    assert (await seen(desk)).held == {"small": 1, "large": 1}
    assert (await desk.ledger.activity(desk.job, Generation(2), desk.now)).held == {}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_looking_reads_what_is_in_flight_and_not_the_journal(desk: Desk, sqlite: str) -> None:
    await desk.lease()
    engine = create_engine(sqlite)
    with engine.connect() as connection:
        place = {"the_job": desk.job, "the_generation": 1}
        rows = connection.execute(text(f"EXPLAIN QUERY PLAN {HELD[False]}"), place)
        plan = [row[-1] for row in rows]
    engine.dispose()
    assert any("USING INDEX calls_held (job=? AND generation=?)" in step for step in plan), plan
