"""SQLite: write-ahead log, full sync, one writer at a time behind a file lock. One host only."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.sqlite_hot import SqliteHot
from pipeline.ledger.sql.versions import bring_up

BUSY_S = 30  # for tools that write without taking the file lock


class SqliteStore:
    postgresql = False
    lost: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def __init__(self, url: URL) -> None:
        self._path = Path(url.database or "")
        self._lock_path = Path(f"{self._path}.lock")
        self.url = f"sqlite:///{self._path}"
        self.scope = str(self._path)

    def connect(self) -> Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._engine().connect()
        try:
            with self.guard(), connection.begin():
                bring_up(connection, self.url)
        except BaseException:
            connection.close()
            raise
        return connection

    def hot(self, connection: Connection, chains: Chains) -> SqliteHot:
        driver: Any = connection.connection.driver_connection
        return SqliteHot(driver, chains)

    def connect_reader(self) -> Connection:
        return self._engine().execution_options(isolation_level="AUTOCOMMIT").connect()

    def _engine(self) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}", poolclass=NullPool, hide_parameters=True,
            connect_args={"timeout": BUSY_S, "cached_statements": 512},
        )  # fmt: skip
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def _prepare(self, connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        with self.guard():  # changing the journal mode needs the database to itself
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=10000")  # pages; each checkpoint writes hot pages again

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Without it, writers of several processes starve each other for seconds in SQLite's busy loop."""
        handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def clean(self, message: str) -> str:
        return message


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
