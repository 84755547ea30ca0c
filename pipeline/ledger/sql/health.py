"""What a ledger's database promises, and what its clock says."""

import asyncio
import time
from pathlib import Path

import msgspec
from sqlalchemy import Connection, text

from pipeline.ledger.sql.ledger import store_of

_SYNCHRONOUS = ("off", "normal", "full", "extra")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    said: str
    durable: bool  # a commit survives a crash
    ahead_ms: float | None = None  # of this machine's clock; None: it has no clock of its own
    file: Path | None = None  # None: a server


async def read_health(url: str) -> Health:
    """Of a ledger that was reached already; `memory://` has none to speak of."""
    if url.startswith("memory:"):
        return Health(said="in memory", durable=True)
    return await asyncio.to_thread(_read, url)


def _read(url: str) -> Health:
    store = store_of(url)
    with store.connect_reader() as connection:
        if store.postgresql:
            return _postgresql(connection)
        mode = connection.execute(text("PRAGMA journal_mode")).scalar_one()
        level = int(connection.execute(text("PRAGMA synchronous")).scalar_one())
        said = f"SQLite, journal {mode}, synchronous {_SYNCHRONOUS[level]}"
        return Health(said=said, durable=level >= 2, file=Path(store.url.removeprefix("sqlite:///")))


def _postgresql(connection: Connection) -> Health:
    """`synchronous_commit` is set by every writer of ours; `fsync` and `full_page_writes` are the server's alone."""
    before = time.time()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    here = (before + time.time()) / 2
    settings = {
        name: connection.execute(text(f"SHOW {name}")).scalar_one()
        for name in ("server_version", "fsync", "full_page_writes")
    }
    off = [name for name in ("fsync", "full_page_writes") if settings[name] != "on"]
    said = f"PostgreSQL {settings['server_version']}, " + (
        f"{' and '.join(off)} off" if off else "fsync and full_page_writes on"
    )
    return Health(said=said, durable=not off, ahead_ms=(theirs - here) * 1000)
