"""The ledger's schema over time: an older one is brought up whole or not at all, a newer one is refused."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, insert, inspect, select, text

from pipeline.ledger import open_ledger
from pipeline.ledger.sql import versions
from pipeline.ledger.sql.tables import VERSION, metadata
from pipeline.ports.ledger import Kept
from schemas.errors import NewerSchema, TierwiseError
from schemas.ids import AccountId, CallId, JobId
from tests.contract.ledger import tables_v1 as old
from tests.contract.ledger.desk import Desk, hash_of
from tests.services import postgresql_schema

ROWS = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, sqlite: str) -> Iterator[str]:
    """A ledger of its own: what is done here, is done to all of it."""
    if request.param == "sqlite":
        yield sqlite
        return
    with postgresql_schema() as found:
        yield found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    place, _, schema = url.partition("?schema=")
    engine = create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    if schema:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        engine = engine.execution_options(schema_translate_map={None: schema})
    yield engine
    engine.dispose()


@pytest.fixture
def version_1(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed job with a reply to each of its calls, as version 1 kept it."""
    monkeypatch.setattr(versions, "AT_ONCE", 5)
    call = {
        "job": "mails", "generation": 1, "batch": 0, "fence": 1, "account": "mails", "step": 0, "purpose": "answer",
        "tier": "small", "model": "small-2026", "lane": "realtime", "sample": 0, "attempt": 0, "state": "settled",
        "amount": 10, "held_at": 1, "cost": 10, "outcome": "ok", "finish_reason": "stop", "settled_at": 5,
    }  # fmt: skip
    with engine.begin() as connection:
        old.metadata.create_all(connection)
        connection.execute(
            insert(old.accounts).values(account="mails", cap=1000, spent=10 * ROWS, held=0, presumed=0)
        )
        connection.execute(
            insert(old.jobs).values(
                job="mails", name="mails", account="mails", generation=1, state="closed", batches=1, committed=1,
                created_at=1, closed_at=9,
            )
        )  # fmt: skip
        connection.execute(
            insert(old.calls),
            [
                {
                    **call, "call_id": f"c{number:02}", "query_id": f"q{number}",
                    "request_hash": hash_of(f"request {number}"), "body": f"reply {number}".encode(),
                }
                for number in range(ROWS)
            ],
        )  # fmt: skip


def stated(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(metadata.tables["schema_version"].c.version)).scalars())


async def test_a_new_ledger_states_its_version(url: str, engine: Engine) -> None:
    for _ in range(2):
        ledger = open_ledger(url, lambda: 1)
        await ledger.probe()
        await ledger.close()
    assert stated(engine) == [VERSION]


async def test_a_ledger_of_version_1_goes_on(url: str, engine: Engine, version_1: None) -> None:
    ledger = open_ledger(url, lambda: 1_000_000)
    try:
        # Its money and its job are there
        account, job = await ledger.account(AccountId("mails")), await ledger.job(JobId("mails"))
        assert account is not None
        assert job is not None
        assert (account.spent, job.state) == (10 * ROWS, "closed")
        # And another job finds each of its replies, and can be held, settled and read
        desk = await Desk(ledger, JobId("next"), AccountId("next")).open()
        asked = [hash_of(f"request {number}") for number in range(ROWS)]
        replies = await ledger.replies(asked, since=0, besides=JobId("next"))
        assert replies == {
            each: Kept(CallId(f"c{number:02}"), f"reply {number}".encode())
            for number, each in enumerate(asked)
        }
        held = await desk.held(await desk.lease())
        assert held.call_id in await desk.rows()
    finally:
        await ledger.close()
    assert stated(engine) == [VERSION]


async def test_a_step_that_breaks_off_leaves_the_ledger_as_it_was(
    url: str, engine: Engine, version_1: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill does: what was not committed is not there."""

    class Killed(TierwiseError):
        """Killed."""

    def half(connection: object) -> None:
        versions._add_request_key(connection)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(versions, "STEPS", (half,))
        ledger = open_ledger(url, lambda: 1)
        with pytest.raises(Killed):
            await ledger.probe()
        await ledger.close()
    schema = engine.get_execution_options().get("schema_translate_map", {}).get(None)
    names = {column["name"] for column in inspect(engine).get_columns("calls", schema=schema)}
    assert "request_key" not in names
    await test_a_ledger_of_version_1_goes_on(url, engine, version_1)


async def test_a_newer_ledger_is_refused(url: str, engine: Engine) -> None:
    ledger = open_ledger(url, lambda: 1)
    await ledger.probe()
    await ledger.close()
    with engine.begin() as connection:
        connection.execute(metadata.tables["schema_version"].update().values(version=VERSION + 1))
    ledger = open_ledger(url, lambda: 1)
    with pytest.raises(NewerSchema, match="Upgrade Tierwise"):
        await ledger.probe()
    await ledger.close()
    assert stated(engine) == [VERSION + 1]


def test_each_version_has_its_step() -> None:
    assert len(versions.STEPS) == VERSION - 1
