"""Named leases: work that one process at a time may do."""

from typing import Any

from sqlalchemy import select, union, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.rules import is_taken
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import batches, leases
from schemas.ids import Fence


def take(tx: Tx, name: str, *, owner: str, now: int, ttl_ms: int) -> Fence | None:
    dialect: Any = postgresql if tx.postgresql else sqlite
    blank = {"name": name, "owner": "", "fence": 0, "lease_until": 0}
    tx.run(dialect.insert(leases).values(blank).on_conflict_do_nothing())
    row = tx.run(select(leases).where(leases.c.name == name).with_for_update()).one()
    if is_taken(row.owner, row.lease_until, now, ttl_ms):
        return None
    fence = Fence(row.fence + 1)
    change = {"owner": owner, "fence": fence, "lease_until": now + ttl_ms}
    tx.run(update(leases).where(leases.c.name == name).values(change))
    return fence


def keep(tx: Tx, name: str, *, owner: str, fence: Fence, now: int, ttl_ms: int) -> bool:
    mine = (leases.c.name == name, leases.c.owner == owner, leases.c.fence == fence)
    return tx.run(update(leases).where(*mine).values(lease_until=now + ttl_ms)).rowcount == 1


def give_back(tx: Tx, name: str, *, owner: str, fence: Fence) -> None:
    mine = (leases.c.name == name, leases.c.owner == owner, leases.c.fence == fence)
    tx.run(update(leases).where(*mine).values(lease_until=0, owner=""))


def touch(tx: Tx) -> None:
    """A write of no consequence, to see that writing works."""
    fence = take(tx, "probe", owner="probe", now=0, ttl_ms=0)
    if fence is not None:
        give_back(tx, "probe", owner="probe", fence=fence)


def owners(tx: Tx, now: int) -> set[str]:
    held = union(
        select(batches.c.owner).where(batches.c.lease_until > now, batches.c.committed == 0),
        select(leases.c.owner).where(leases.c.lease_until > now),
    )
    return {owner for owner in tx.run(held).scalars() if owner}


def end_leases(tx: Tx, owner: str) -> None:
    """The fence stays: the next holder's is larger all the same."""
    for table in (batches, leases):
        tx.run(update(table).where(table.c.owner == owner).values(lease_until=0))
