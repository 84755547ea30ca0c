"""What an operator watches, in a handful of statements that read alone."""

from typing import Any

from sqlalchemy import Select, case, func, literal, or_, select, text

from pipeline.ledger.rules import RECENT_MS
from pipeline.ledger.sql.money import account_of
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import accounts, batches, calls, jobs, upstreams
from pipeline.ports.ledger import Overview, Pacing, Standing

_CLOCK = {
    False: text("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"),
    True: text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"),
}
_PACING = Pacing.__struct_fields__


def read_overview(tx: Tx, now: int) -> Overview:
    held = _pairs(tx, _oldest_holds())
    open_jobs: list[Any] = list(tx.run(_open_jobs(now)))
    shared: list[Any] = list(tx.run(select(upstreams)))
    return Overview(
        clock=int(tx.run(_CLOCK[tx.postgresql]).scalar_one()),
        states=_pairs(tx, select(jobs.c.state, func.count()).group_by(jobs.c.state)),
        stops=_pairs(
            tx, select(jobs.c.stop, func.count()).where(jobs.c.stop.is_not(None)).group_by(jobs.c.stop)
        ),
        jobs=[Standing(**row._mapping, held_at=held.get(row.job, 0)) for row in open_jobs],
        accounts=[account_of(row) for row in tx.run(_watched(now))],
        upstreams={row.upstream: Pacing(**{name: row._mapping[name] for name in _PACING}) for row in shared},
    )


def _pairs(tx: Tx, query: Select[Any]) -> dict[str, int]:
    rows: list[Any] = list(tx.run(query))
    return {str(name): int(number) for name, number in rows}


def _open_jobs(now: int) -> Select[Any]:
    """Each with what its open batches come to."""
    still = batches.c.committed == 0
    run_out = still & (batches.c.lease_until > 0) & (batches.c.lease_until <= now)
    return (
        select(
            jobs.c.job,
            jobs.c.created_at,
            jobs.c.batches,
            jobs.c.committed,
            func.coalesce(func.sum(case((still & (batches.c.lease_until > now), 1), else_=0)), 0).label(
                "leased"
            ),
            func.coalesce(func.max(case((still, batches.c.attempts), else_=0)), 0).label("attempts"),
            func.coalesce(func.min(case((run_out, batches.c.lease_until))), 0).label("overdue_at"),
        )
        .outerjoin(batches, (batches.c.job == jobs.c.job) & (batches.c.generation == jobs.c.generation))
        .where(jobs.c.state != "closed")
        .group_by(jobs.c.job, jobs.c.created_at, jobs.c.batches, jobs.c.committed)
    )


def _oldest_holds() -> Select[Any]:
    return select(calls.c.job, func.min(calls.c.held_at)).where(calls.c.state == "held").group_by(calls.c.job)


def _watched(now: int) -> Select[Any]:
    recent = select(jobs.c.account).where(or_(jobs.c.closed_at.is_(None), jobs.c.closed_at > now - RECENT_MS))
    chain = (
        select(accounts.c.account, accounts.c.parent)
        .where(accounts.c.account.in_(recent))
        .cte(recursive=True)
    )
    above = (literal(" ") + chain.c.parent + " ").contains(literal(" ") + accounts.c.account + " ")
    chain = chain.union(select(accounts.c.account, accounts.c.parent).join(chain, above))
    halted = select(jobs.c.account).where(jobs.c.stop == "over_hold")
    over = (accounts.c.spent + accounts.c.held > accounts.c.cap) & accounts.c.account.not_in(halted)
    return (
        select(accounts)
        .where(or_(accounts.c.account.in_(select(chain.c.account)), over))
        .order_by(accounts.c.account)
    )
