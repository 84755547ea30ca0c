"""Two writers take turns: what one remembers of the database must never outlive what the other commits."""

import asyncio
import sqlite3

import psycopg
import pytest
from sqlalchemy import make_url

from pipeline.ledger.sql.ledger import SqlLedger, store_of
from pipeline.ledger.sql.store import lock_number
from pipeline.ports.ledger import Denied, Held, Ledger
from schemas.errors import LedgerUnreachable
from schemas.ids import AccountId, Generation, JobId
from tests.contract.ledger.desk import TTL, Desk, ended, total


async def desks(url: str, name: str, cap: float = 5.0, count: int = 2) -> list[Desk]:
    """One job, seen through several ledgers."""
    ledgers = [SqlLedger(url, max_wait_ms=0) for _ in range(count)]
    opened = [Desk(ledger, JobId(f"job-{name}"), AccountId(f"account-{name}")) for ledger in ledgers]
    await opened[0].open(cap)
    for desk in opened[1:]:
        desk.drawn = opened[0].drawn
    return opened


async def close(opened: list[Desk]) -> None:
    for desk in opened:
        await desk.ledger.close()


async def denied(ledger: Ledger, desk: Desk, *given: object) -> Denied:
    answer = await ledger.hold(desk.intent(*given))  # type: ignore[arg-type]
    assert isinstance(answer, Denied), answer
    return answer


async def test_writers_in_turn_never_pass_the_cap(durable_url: str, name: str) -> None:
    # Given $5, and two writers that hold and settle in turn, each in a transaction of its own
    opened = await desks(durable_url, name)
    leases = [await desk.lease(number) for number, desk in enumerate(opened)]
    for turn in range(50):
        desk, lease = opened[turn % 2], leases[turn % 2]
        held = await desk.held(lease, 0.1)
        # settled by either, so that each learns of calls the other made
        await opened[turn // 2 % 2].ledger.settle(ended(held, 0.1))
    # Then both have seen the last cent go
    for desk, lease in zip(opened, leases, strict=True):
        assert (await denied(desk.ledger, desk, lease, 0.1)).reason == "exhausted"
        assert await desk.money() == (5.0, 0.0, 0.0) == total((await desk.rows()).values())
    await close(opened)


async def test_money_another_writer_holds_is_not_granted_again(durable_url: str, name: str) -> None:
    opened = await desks(durable_url, name, cap=1.0)
    one, two = opened
    first, second = await one.lease(0), await two.lease(1)
    await one.held(first, 0.2)
    await two.held(second, 0.2)
    # Given both know the account, one takes almost all that is left
    await one.held(first, 0.5)
    # When the other wants more than that, then it waits
    waiting = asyncio.create_task(two.ledger.hold(two.intent(second, 0.2)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert await two.money() == (0.0, 0.9, 0.0)
    waiting.cancel()
    await close(opened)


async def test_what_another_writer_changes_of_job_and_batch_is_seen(durable_url: str, name: str) -> None:
    # Given a batch whose gate a writer has just passed
    opened = await desks(durable_url, name)
    one, two = opened
    lease = await one.lease(0)
    await one.held(lease)
    # When another writer takes the batch, then the first is fenced
    two.now += TTL
    taken = await two.lease(0, owner="worker-2")
    assert (await denied(one.ledger, one, lease)).reason == "fenced"
    # and when it stops the job, then the first knows
    other = await one.lease(1)
    await one.held(other)
    await two.ledger.stop_job(two.job, "cancelled")
    assert (await denied(one.ledger, one, other)).reason == "cancelled"
    assert (await denied(two.ledger, two, taken)).reason == "cancelled"
    await close(opened)


async def test_a_call_another_writer_charged_is_settled_as_it_stands_now(durable_url: str, name: str) -> None:
    # Given a call that its holder remembers as held, and that another writer has presumed since
    opened = await desks(durable_url, name)
    one, two = opened
    held = await one.held(await one.lease(0), 0.4)
    assert await two.ledger.presume(two.job, Generation(1)) == 1
    # When its holder settles it after all, then the true cost replaces the presumed one, once
    await one.ledger.settle(ended(held, 0.1))
    assert await one.money() == (0.1, 0.0, 0.0) == total((await one.rows()).values())
    await close(opened)


async def test_a_group_that_failed_leaves_nothing_behind(durable_url: str, name: str) -> None:
    # Given a group with a text that no database takes, after one that was committed
    opened = await desks(durable_url, name, cap=1.0, count=1)
    desk = opened[0]
    lease = await desk.lease(0)
    await desk.held(lease, 0.1)
    for _ in range(3):
        with pytest.raises(UnicodeError):
            await desk.ledger.hold(desk.intent(lease, 0.3, query="lone \ud800"))
    # Then its money was never moved, also not in what the writer remembers
    await desk.held(lease, 0.9)
    assert await desk.money() == (0.0, 1.0, 0.0) == total((await desk.rows()).values())
    await close(opened)


async def test_no_hold_slips_in_behind_a_new_lease(durable_url: str, name: str) -> None:
    # Given a writer that holds again and again under its lease
    opened = await desks(durable_url, name)
    one, two = opened
    for turn in range(10):
        lease = await one.lease(0)
        asked = [asyncio.create_task(one.ledger.hold(one.intent(lease, 0.001))) for _ in range(30)]
        await asyncio.sleep(0.0005 * turn)
        # When another takes the batch over in the middle, then nothing is held any more
        for desk in opened:
            desk.now += TTL
        await two.lease(0, owner="worker-2")
        answers = await asyncio.gather(*asked)
        assert (await two.money())[1] == 0.0
        # and whoever came later was fenced
        assert all(isinstance(answer, (Held, Denied)) for answer in answers)
        for desk in opened:
            desk.now += TTL
    spent, _, presumed = await one.money()
    assert spent == presumed
    assert (spent, 0.0, presumed) == total((await one.rows()).values())
    await close(opened)


async def test_a_hold_waits_for_a_lease_under_way_and_sees_its_fence(postgresql: str, name: str) -> None:
    # Given a hold's lease, and another process in the middle of taking the batch
    (desk,) = await desks(postgresql, name, count=1)
    lease = await desk.lease(0)
    url = make_url(postgresql)
    schema = str(url.query["schema"])
    server = url.difference_update_query(["schema"]).render_as_string(hide_password=False)
    with psycopg.connect(server, options=f"-c search_path={schema}") as taking:
        number = lock_number(store_of(postgresql).scope, desk.job)
        taking.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
        taking.execute("UPDATE batches SET fence = fence + 1 WHERE job = %s AND batch = 0", (desk.job,))
        # When it holds, then it is not answered before the other commits
        asked = asyncio.create_task(desk.ledger.hold(desk.intent(lease)))
        await asyncio.sleep(0.2)
        assert not asked.done()
        taking.commit()
    # and then it is fenced
    answer = await asyncio.wait_for(asked, 60)
    assert isinstance(answer, Denied)
    assert answer.reason == "fenced"
    await desk.ledger.close()


async def test_a_writer_without_our_lock_is_noticed(sqlite: str, name: str) -> None:
    # Given a writer that remembers its account, and a tool that lowers the cap past all our locks
    (desk,) = await desks(sqlite, name, count=1)
    lease = await desk.lease(0)
    await desk.held(lease, 1.0)
    with sqlite3.connect(str(make_url(sqlite).database)) as tool:
        tool.execute("UPDATE accounts SET cap = 1500000000")
    tool.close()
    waiting = asyncio.create_task(desk.ledger.hold(desk.intent(lease, 1.0)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await desk.ledger.close()
    with pytest.raises(LedgerUnreachable):
        await waiting
