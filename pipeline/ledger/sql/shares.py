"""Dividing what is left: one transaction reads how everyone stands and notes what a batch was given."""

from functools import partial
from typing import Any

from sqlalchemy import and_, bindparam, case, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger import division
from pipeline.ledger.division import Others
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.jobs import read_job
from pipeline.ledger.sql.money import parent_of
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import accounts, batches, shares
from pipeline.ports.ledger import Share, Want

_KEY = ("job", "generation", "batch")
_NOTED = ("fence", "wants", "purse")
_BATCH = tuple(batches.c[name] == bindparam(f"the_{name}") for name in _KEY)
_IS_HELD = select(batches.c.batch).where(
    *_BATCH, batches.c.fence == bindparam("the_fence"), batches.c.committed == 0
)
_LEFT = accounts.c.cap - accounts.c.spent
_TIGHTEST = (
    select(accounts.c.account, _LEFT)
    .where(accounts.c.account.in_(bindparam("chain", expanding=True)))
    .order_by(_LEFT, accounts.c.account)
    .limit(1)
)
_COMING = or_(shares.c.fence.is_(None), batches.c.lease_until <= bindparam("now"))
_OTHERS = (
    select(
        func.coalesce(func.sum(case((_COMING, 1), else_=0)), 0),
        func.coalesce(func.sum(case((_COMING, 0), else_=shares.c.wants)), 0),
        func.coalesce(func.sum(case((_COMING, 0), else_=shares.c.purse)), 0),
    )
    .select_from(batches)
    .outerjoin(shares, and_(*(shares.c[name] == batches.c[name] for name in (*_KEY, "fence"))))
    .where(*_BATCH[:2], batches.c.batch != bindparam("the_batch"), batches.c.committed == 0)
)


def _note_for(dialect: Any) -> Any:
    insert = dialect.insert(shares)
    noted = {name: insert.excluded[name] for name in _NOTED}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=noted)


_NOTE = {True: _note_for(postgresql), False: _note_for(sqlite)}  # by whether it is PostgreSQL


def divide(tx: Tx, chains: Chains, want: Want, now: int) -> Share | None:
    lease = want.lease
    place = {f"the_{name}": getattr(lease, name) for name in (*_KEY, "fence")}
    tx.lock_jobs([lease.job])
    row = read_job(tx, lease.job)
    if row is None or row.generation != lease.generation or tx.run(_IS_HELD, place).first() is None:
        return None
    chain = chains.of(partial(parent_of, tx), want.account)
    least: Any = tx.run(_TIGHTEST, {"chain": chain}).one()
    coming, wants, purses = map(int, tx.run(_OTHERS, {**place, "now": now}).one())
    share = division.divide(
        want, row.stop, int(least[1]), least[0], Others(coming=coming, wants=wants, purses=purses)
    )
    _note(tx, want, share)
    return share


def _note(tx: Tx, want: Want, share: Share) -> None:
    wants, purse = division.entry(want, share)
    row = {name: getattr(want.lease, name) for name in (*_KEY, "fence")}
    tx.run(_NOTE[tx.postgresql], {**row, "wants": wants, "purse": purse})
