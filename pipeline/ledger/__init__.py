"""The transactional store for money, leases and the call journal, chosen by URL."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.errors import UnknownScheme
from schemas.secrets import hide

if TYPE_CHECKING:
    from pipeline.ports.ledger import Ledger

KNOWN = "memory://, sqlite:///path/to/ledger.db, postgresql://user:password@host/database"


def open_ledger(url: str, clock: Callable[[], int], *, orphan_after_s: float = 60.0) -> "Ledger":
    """The ledger behind the URL; `clock` tells Unix ms. Nothing is connected before the first operation.
    `orphan_after_s`: how long a hold waits before money held under leases that ran out is charged.

    Raises UnknownScheme.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme == "memory":
        from pipeline.ledger.memory import MemoryLedger

        return MemoryLedger(url, clock)
    if scheme in ("sqlite", "postgresql", "postgres"):
        from pipeline.ledger.sql.ledger import SqlLedger

        return SqlLedger(url, clock, orphan_after_s=orphan_after_s)
    raise UnknownScheme(port="ledger", url=hide(url), known=KNOWN)
