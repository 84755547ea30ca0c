"""The writer's one connection: transactions run again after a lost connection, within bounds."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.hot import Hot
from pipeline.ledger.sql.store import Store, Tx
from schemas.errors import LedgerUnreachable

T = TypeVar("T")


class Uncertain(Exception):
    """The connection broke during COMMIT, and running the work again could do it twice."""


class Transactions:
    """Runs work in transactions, one at a time, on the thread that calls it.

    `reading`: each statement stands alone and keeps nobody out.
    """

    def __init__(self, store: Store, chains: Chains, *, patience_s: float, reading: bool = False) -> None:
        self._store, self._chains = store, chains
        self._connect = store.connect_reader if reading else store.connect
        self._guard = nullcontext if reading else store.guard
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self._hot: Hot | None = None
        self._was_connected = False

    def run(self, work: Callable[[Tx], T], *, repeatable: bool, patient: bool = True) -> T:
        """Raises LedgerUnreachable when the database stays away, at once unless `patient`; `repeatable` work may be
        committed twice."""
        return self._patiently(lambda: self._attempt(work, repeatable), self._patience_s if patient else 0.0)

    def run_hot(self, work: Callable[[Hot], T]) -> T:
        """The same for a group, which begins and commits by itself and may be committed twice."""
        try:
            return self._attempt_hot(work)
        except Exception as error:
            if not self._is_transient(error):
                raise
        return self._patiently(lambda: self._attempt_hot(work), self._patience_s)

    def _patiently(self, attempt: Callable[[], T], patience: float) -> T:
        if (
            not self._was_connected
        ):  # a service that was never there is more likely a wrong URL than an outage
            patience = min(patience, 3.0)
        retrying = Retrying(
            stop=stop_after_delay(patience),
            wait=wait_random_exponential(multiplier=0.05, max=2.0),
            retry=retry_if_exception(self._is_transient),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except Exception as error:
            if not self._is_transient(error) and not isinstance(error, Uncertain):
                raise
            why = self._store.clean(reason(error))
            raise LedgerUnreachable(url=self._store.url, why=why) from None

    def _attempt(self, work: Callable[[Tx], T], repeatable: bool) -> T:
        connection = self._connected()
        committing = False
        if self._hot is not None:
            self._hot.forget()
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
            if self._is_transient(error):
                self.close()
                if committing and not repeatable:
                    raise Uncertain(f"the connection broke during COMMIT ({reason(error)})") from error
            raise

    def _attempt_hot(self, work: Callable[[Hot], T]) -> T:
        connection = self._connected()
        if self._hot is None:
            self._hot = self._store.hot(connection, self._chains)
        try:
            with self._guard():
                try:
                    return work(self._hot)
                except BaseException:
                    with suppress(Exception):
                        self._hot.rollback()
                    raise
        except Exception as error:
            if self._is_transient(error):
                self.close()
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
            self._connection = self._hot = None

    def _is_transient(self, error: BaseException) -> bool:
        """Whether a new connection may help: lost or refused ones, locks, deadlocks, a full or missing disk."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return isinstance(error, (OperationalError, InterfaceError, OSError, *self._store.lost))


def reason(error: BaseException) -> str:
    """The driver's own words, without the statement and its parameters."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(original).split())
