"""What only the durable ledgers have: URLs, restarts, lost connections, holders that never come back."""

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, make_url, text

from pipeline.ledger import open_ledger
from pipeline.ledger.sql.ledger import SqlLedger
from pipeline.ports.ledger import Held, Known, Ledger
from schemas.errors import LedgerUnreachable, UnknownScheme
from schemas.ids import AccountId, BatchIndex, JobId
from tests.contract.ledger.desk import TTL, Desk, ended


async def opened(ledger: Ledger, name: str) -> Desk:
    return await Desk(ledger, JobId(f"job-{name}"), AccountId(f"account-{name}")).open()


async def test_another_process_reads_what_was_committed(durable_url: str, name: str) -> None:
    # Given a ledger that is opened, used and closed
    first = SqlLedger(durable_url)
    desk = await opened(first, name)
    lease = await desk.lease()
    await first.settle(ended(await desk.held(lease, 0.4, request="same", query="q"), 0.3))
    await desk.held(lease, 0.5)
    await first.close()
    # When it is opened again, then all of it is there
    second = SqlLedger(durable_url)
    desk.ledger = second
    assert await desk.money() == (0.3, 0.5, 0.0)
    assert isinstance(await second.hold(desk.intent(lease, request="same", query="q")), Known)
    await second.close()


async def test_two_ledgers_free_money_for_each_other(durable_url: str, name: str) -> None:
    # Given all money held through one ledger, and a hold waiting at the other
    one, two = SqlLedger(durable_url), SqlLedger(durable_url)
    desk, other = await opened(one, name), Desk(two, JobId(f"job-{name}"), AccountId(f"account-{name}"))
    held = await desk.held(await desk.lease(0), 5.0)
    intent = other.intent(await other.lease(1), 1.0, request="another", call=f"other-{name}")
    waiting = asyncio.create_task(two.hold(intent))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    # When the first settles, then the second sees it by itself
    await one.settle(ended(held, 0.1))
    assert isinstance(await asyncio.wait_for(waiting, 60), Held)
    await one.close()
    await two.close()


async def test_an_equal_request_of_another_process_is_waited_for(durable_url: str, name: str) -> None:
    one, two = SqlLedger(durable_url), SqlLedger(durable_url)
    desk, other = await opened(one, name), Desk(two, JobId(f"job-{name}"), AccountId(f"account-{name}"))
    held = await desk.held(await desk.lease(0), request="same")
    intent = other.intent(await other.lease(1), request="same", call=f"other-{name}")
    waiting = asyncio.create_task(two.hold(intent))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await one.settle(ended(held))
    assert isinstance(await asyncio.wait_for(waiting, 60), Known)
    await one.close()
    await two.close()


async def test_money_of_a_holder_that_never_comes_back_is_charged_in_the_end(
    durable_url: str, name: str
) -> None:
    # Given a batch whose holder died with all the money, and whose lease ran out
    time = [1_000_000]
    ledger = open_ledger(durable_url, lambda: time[0], orphan_after_s=0.2)
    desk = await opened(ledger, name)
    await desk.held(await desk.lease(0), 4.5, request="same")
    lease = await desk.lease(1)
    # When others wait for its money or for its answer, and nobody takes its batch
    poor = asyncio.create_task(ledger.hold(desk.intent(lease, 1.0)))
    twin = asyncio.create_task(ledger.hold(desk.intent(lease, 0.1, request="same")))
    await asyncio.sleep(0.5)
    assert not poor.done()
    assert not twin.done()
    time[0] += TTL
    # Then it is charged in full, and they go on
    answer = await asyncio.wait_for(poor, 60)
    assert not isinstance(answer, Held)
    assert isinstance(await asyncio.wait_for(twin, 60), Held)
    assert await desk.money() == (4.5, 0.1, 4.5)
    await ledger.close()


async def test_a_lost_connection_is_made_again(postgresql: str, name: str) -> None:
    ledger = SqlLedger(f"{postgresql}&application_name={name}")
    desk = await opened(ledger, name)
    lease = await desk.lease()
    server = make_url(postgresql).set(drivername="postgresql+psycopg").difference_update_query(["schema"])
    engine = create_engine(server)
    kill = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
    # When the server ends all its connections in the middle of the work, time and again
    for turn in range(5):
        asked = [asyncio.create_task(desk.ledger.hold(desk.intent(lease, 0.01))) for _ in range(20)]
        await asyncio.sleep(0.001 * turn)
        with engine.begin() as connection:
            assert connection.execute(kill, {"name": name}).all()
        for answer in await asyncio.gather(*asked):
            assert isinstance(answer, Held)
            await ledger.settle(ended(answer, 0.01))
    # Then every call is held and paid once
    spent, held, _ = await desk.money()
    assert (round(spent, 9), held) == (1.0, 0.0)
    engine.dispose()
    await ledger.close()


@pytest.mark.parametrize("url", ["mysql://root:hush@db/x", "redis://:hush@db", "sqlite://", "nonsense"])
def test_an_unknown_scheme_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(UnknownScheme) as caught:
        open_ledger(url, lambda: 0)
    assert "hush" not in str(caught.value)
    assert "memory://" in str(caught.value) or "sqlite:///" in str(caught.value)


async def test_an_unreachable_service_is_named_without_its_password() -> None:
    ledger = SqlLedger("postgres://us%40er:h%2Fush@127.0.0.1:1/db?sslmode=prefer&schema=x", patience_s=0.2)
    with pytest.raises(LedgerUnreachable) as caught:
        await ledger.probe()
    assert "127.0.0.1" in str(caught.value)
    assert "h/ush" not in str(caught.value) + ledger.url
    assert "h%2Fush" not in str(caught.value) + ledger.url
    await ledger.close()


async def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ledger = SqlLedger(f"sqlite:///{tmp_path}/file/ledger.db", patience_s=0.2)
    with pytest.raises(LedgerUnreachable):
        await ledger.probe()
    await ledger.close()


async def test_probe_makes_the_schema_and_can_race(durable_url: str) -> None:
    ledgers = [SqlLedger(durable_url) for _ in range(4)]
    await asyncio.gather(*[ledger.probe() for ledger in ledgers])
    await asyncio.gather(*[ledger.close() for ledger in ledgers])


async def test_text_that_a_database_does_not_take_fails_alone(durable_url: str, name: str) -> None:
    # Given a name no database can store, in the middle of a group, and an error text with the same flaw
    ledger = SqlLedger(durable_url)
    desk = await opened(ledger, name)
    lease = await desk.lease()
    asked = [desk.intent(lease, 0.1, query=query) for query in ("a", "lone \ud800", "b")]
    answers = await asyncio.gather(*map(ledger.hold, asked), return_exceptions=True)
    # Then only that one fails, and the error text is cleaned
    assert [isinstance(answer, Held) for answer in answers] == [True, False, True]
    settlement = ended(asked[0].call_id, 0.1, "rejected")
    assert await ledger.settle(msgspec.structs.replace(settlement, error="\x00\ud800!"))
    assert (await desk.rows())[asked[0].call_id].error.endswith("!")
    await ledger.close()


async def test_sqlite_is_durable_and_keeps_its_log(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqlLedger(f"sqlite:///{path}")
    desk = await opened(ledger, name)
    await ledger.commit_batch(desk.job, (await desk.lease()).generation, BatchIndex(0))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    await ledger.close()
