"""The writer's one connection: transactions run again after a lost connection, within bounds."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from pipeline.ledger.sql.store import Store, Tx
from schemas.errors import LedgerUnreachable

T = TypeVar("T")


class Uncertain(Exception):
    """The connection broke during COMMIT, and running the work again could do it twice."""


class Transactions:
    """Runs work in transactions, one at a time, on the thread that calls it.

    `reading`: each statement stands alone and keeps nobody out.
    """

    def __init__(self, store: Store, *, patience_s: float, reading: bool = False) -> None:
        self._store = store
        self._connect = store.connect_reader if reading else store.connect
        self._guard = nullcontext if reading else store.guard
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self._was_connected = False

    def run(self, work: Callable[[Tx], T], *, repeatable: bool) -> T:
        """Raises LedgerUnreachable when the database stays away; `repeatable` work may be committed twice."""
        # a service that was never there is more likely a wrong URL than an outage: say so soon
        patience = self._patience_s if self._was_connected else min(self._patience_s, 3.0)
        retrying = Retrying(
            stop=stop_after_delay(patience),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
            retry=retry_if_exception(is_transient),
            reraise=True,
        )
        try:
            value: T = retrying(self._attempt, work, repeatable)
            return value
        except Exception as error:
            if not is_transient(error) and not isinstance(error, Uncertain):
                raise
            why = self._store.clean(reason(error))
            raise LedgerUnreachable(url=self._store.url, why=why) from None

    def _attempt(self, work: Callable[[Tx], T], repeatable: bool) -> T:
        connection = self._connected()
        committing = False
        try:
            with self._guard():
                transaction = connection.begin()
                try:
                    value = work(Tx(connection, self._store.postgresql, self._store.scope))
                    committing = True
                    transaction.commit()
                except BaseException:
                    with suppress(Exception):
                        transaction.rollback()
                    raise
            return value
        except Exception as error:
            if is_transient(error):
                self.close()
                if committing and not repeatable:
                    raise Uncertain(f"the connection broke during COMMIT ({reason(error)})") from error
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._was_connected = True
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None


def is_transient(error: BaseException) -> bool:
    """Whether a new connection may help: lost or refused ones, locks, deadlocks, a full or missing disk."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (OperationalError, InterfaceError, OSError))


def reason(error: BaseException) -> str:
    """The driver's own words, without the statement and its parameters."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(original).split())
