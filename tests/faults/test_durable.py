"""What is committed survives a power cut: the settings that promise it, read back from the ledger's own
connections, and the syncs, counted. A kill -9 never shows a missing one."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Ledger
from pipeline.wiring.services import now_ms
from tests.end_to_end.command import ROOT
from tests.faults.private import program
from tests.services import postgresql_schema

HOLDS = 20


@pytest.fixture
def commits() -> Iterator[list[dict[str, Any]]]:
    """The settings of the connection at every COMMIT, as the connection itself states them."""
    seen: list[dict[str, Any]] = []

    def note(connection: Connection) -> None:
        cursor = connection.connection.cursor()  # past SQLAlchemy: its own events are not to see this
        found: dict[str, Any] = {}
        for setting in SETTINGS[connection.dialect.name]:
            cursor.execute(setting)
            found[setting] = cursor.fetchone()[0]
        cursor.close()
        seen.append(found)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


SETTINGS = {
    "sqlite": ("PRAGMA synchronous", "PRAGMA journal_mode"),
    "postgresql": ("SHOW synchronous_commit", "SHOW fsync"),
}


@asynccontextmanager
async def written(url: str) -> AsyncIterator[Ledger]:
    """A ledger that has written."""
    ledger = open_ledger(url, clock=now_ms)
    try:
        await ledger.probe()
        yield ledger
    finally:
        await ledger.close()


async def test_sqlite_syncs_every_commit(tmp_path: Path, commits: list[dict[str, Any]]) -> None:
    async with written(f"sqlite:///{tmp_path}/ledger.db"):
        assert len(commits) > 1  # the schema, and the probe
        for settings in commits[1:]:
            assert settings == {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal"}  # FULL


@pytest.mark.parametrize("default", ["on", "off"])
async def test_postgresql_waits_for_its_log(default: str, commits: list[dict[str, Any]]) -> None:
    # Given a server, or a role, that would not wait by default
    with postgresql_schema() as url:
        async with written(f"{url}&options=-csynchronous_commit%3D{default}"):
            # Then the writer waits all the same
            assert commits[-1]["SHOW synchronous_commit"] == "on"
            assert commits[-1]["SHOW fsync"] == "on"


def test_every_hold_and_settlement_is_synced(tmp_path: Path) -> None:
    # Given a process that asks for one hold after the other and settles each
    trace = tmp_path / "trace"
    command = [
        program("strace", "strace"), "-f", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,write",
        sys.executable, "-m", "tests.faults.holds", f"sqlite:///{tmp_path}/ledger.db", str(HOLDS),
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=120)
    # Then between any two of them the ledger's log has been synced
    groups = re.split(r'write\(1<[^"]*"(?:ready|held|settled)', trace.read_text("utf-8", "replace"))[1:]
    assert len(groups) == 1 + 2 * HOLDS
    syncs = [
        len(re.findall(r"(?:fsync|fdatasync)\(\d+<[^>]*ledger\.db-wal>", group)) for group in groups[:-1]
    ]
    assert all(syncs), syncs
