"""The transactional store for money, leases and the call journal, chosen by URL."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.errors import UnknownScheme

if TYPE_CHECKING:
    from pipeline.ports.ledger import Ledger

KNOWN = "memory://, sqlite:///path/to/ledger.db, postgresql://user:password@host/database"


def open_ledger(url: str, clock: Callable[[], int]) -> "Ledger":
    """The ledger behind the URL; `clock` tells Unix ms. Nothing is connected before the first operation.

    Raises UnknownScheme.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme == "memory":
        from pipeline.ledger.memory import MemoryLedger

        return MemoryLedger(url, clock)
    if scheme in ("sqlite", "postgresql", "postgres"):
        from pipeline.ledger.sql.ledger import SqlLedger

        return SqlLedger(url, clock)
    raise UnknownScheme(port="ledger", url=_masked(url), known=KNOWN)


def _masked(url: str) -> str:
    """The URL without user and password, which an error must not show."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
