"""One suite for every ledger: the in-memory twin, SQLite in a folder, a real PostgreSQL."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Ledger
from schemas.ids import AccountId, JobId
from tests.contract.ledger.desk import Desk

POSTGRESQL = os.environ.get("TIERWISE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A URL with a schema of its own; without the service the tests are skipped, in CI they fail."""
    schema = f"ledger_{uuid.uuid4().hex[:12]}"
    engine = create_engine(POSTGRESQL.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRESQL}: {error.orig}")
    yield f"{POSTGRESQL}?schema={schema}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def durable_url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def clock() -> list[int]:
    """What the ledger takes for the time; tests move it."""
    return [1_000_000]


@pytest.fixture
async def ledger(url: str, clock: list[int]) -> AsyncIterator[Ledger]:
    opened = open_ledger(url, lambda: clock[0])
    yield opened
    await opened.close()


@pytest.fixture
def name() -> str:
    """For the accounts and jobs of one test: PostgreSQL is shared by the whole run."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
async def desk(ledger: Ledger, name: str) -> Desk:
    """A job with $5 and three batches."""
    return await Desk(ledger, JobId(f"job-{name}"), AccountId(f"account-{name}")).open()
