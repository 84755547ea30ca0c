"""What differs between the databases: how to connect, how to lock, which dialect to write."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Executable

from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.hot import Hot

T = TypeVar("T")


class Store(Protocol):
    """One database. `connect` is called by the thread that will use the connection."""

    url: str  # without the password
    postgresql: bool
    lost: tuple[type[Exception], ...]  # what its driver raises where a new connection may help
    scope: str  # what tells its advisory locks from those of another schema

    def connect(self) -> Connection:
        """A connection for the writer, the schema being there; transactions are begun by hand."""
        ...

    def hot(self, connection: Connection, chains: Chains) -> Hot:
        """The way of groups over the writer's connection, past SQLAlchemy."""
        ...

    def connect_reader(self) -> Connection:
        """A connection for reading, each statement on its own."""
        ...

    def guard(self) -> AbstractContextManager[None]:
        """Keeps other processes out while a transaction runs, where the database does that badly itself."""
        ...

    def clean(self, message: str) -> str:
        """The message without what must not be told."""
        ...


class Tx:
    """One transaction of the writer."""

    def __init__(self, connection: Connection, postgresql: bool, scope: str) -> None:
        self.connection = connection
        self.postgresql = postgresql
        self._scope = scope

    def run(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self.connection.execute(statement, parameters)

    def lock_jobs(self, jobs: Sequence[str]) -> None:
        """Let one transaction at a time hold or presume money of a job. Always the first lock taken.

        An advisory lock, not the job's row: a settlement that halts the job writes that row while it already
        has the accounts, so a hold that kept the row while waiting for the accounts would deadlock with it.
        """
        if not self.postgresql:
            return
        for number in sorted({lock_number(self._scope, job) for job in jobs}):
            self.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (number,))


class Run(Protocol):
    """Runs work in a transaction of the ledger's."""

    def __call__(self, work: Callable[[Tx], T], /) -> Awaitable[T]: ...


def lock_number(scope: str, job: str) -> int:
    """The advisory lock of a job."""
    name = f"{scope}/{job}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)


SCHEMA_LOCK = 0x7469_6572  # any constant: creators of the schema queue up on it
