"""Batches and their leases: who may commit one, with a fence that grows with each holder."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, case, delete, func, or_, select, update

from pipeline.ledger.rules import COMPLETE, lease_refusal
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.jobs import read_job
from pipeline.ledger.sql.money import held_calls, presume_calls
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import batches, calls, jobs, notes
from pipeline.ports.ledger import JobRow, Refusal
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Lease, Pin

# What every batch runs is built once: SQLAlchemy takes longer to build a statement than the database to run it.
_PLACE = tuple(batches.c[name] == bindparam(f"the_{name}") for name in ("job", "generation", "batch"))
_CALLS = tuple(calls.c[name] == bindparam(f"the_{name}") for name in ("job", "generation", "batch"))
_OPEN = (*_PLACE, batches.c.committed == 0)
_MINE = (batches.c.fence == bindparam("the_fence"), batches.c.owner == bindparam("the_owner"))
_CURRENT = (jobs.c.job == bindparam("the_job"), jobs.c.generation == bindparam("the_generation"))
_DONE = (jobs.c.state == "running", jobs.c.committed >= jobs.c.batches)

_FIND = select(batches).where(*_PLACE).with_for_update()
_HELD = held_calls(*_CALLS)
_REPLIES = select(func.count()).where(*_CALLS, calls.c.outcome.in_(sorted(COMPLETE)))
_TAKE = update(batches).where(*_PLACE)
_RENEW = update(batches).where(*_OPEN, *_MINE).values(lease_until=bindparam("until"))
_COMMIT = update(batches).where(*_OPEN).values(committed=1)
_COUNT_UP = update(jobs).where(*_CURRENT).values(committed=jobs.c.committed + 1)
_LAST = update(jobs).where(*_CURRENT, *_DONE).values(state="closing")
_FORGET = delete(notes).where(
    *(notes.c[name] == bindparam(f"the_{name}") for name in ("job", "generation", "batch"))
)
_LEFT = select(func.count()).where(*_PLACE[:2], batches.c.committed == 0)


def lease_batch(
    tx: Tx,
    chains: Chains,
    job: JobId,
    generation: Generation,
    batch: BatchIndex,
    *,
    owner: str,
    pin: Pin,
    now: int,
    ttl_ms: int,
    clock: int,
) -> Lease | Refusal:
    tx.lock_jobs([job])
    row, place = read_job(tx, job), _place(job, generation, batch)
    found = tx.run(_FIND, place).first()
    if row is None or (found is None and generation >= row.generation):
        return "unknown"
    if found is None:
        return "closed"
    refusal = lease_refusal(
        current=row.generation,
        state=row.state,
        wanted=generation,
        committed=bool(found.committed),
        lease_until=found.lease_until,
        now=now,
    )
    if refusal is not None:
        return refusal
    presume_calls(tx, chains, _HELD, clock, place)
    seen = int(tx.run(_REPLIES, place).scalar_one())  # more than at the last lease is progress
    attempts = 1 if seen > found.seen else found.attempts + 1
    fence = Fence(found.fence + 1)
    kept = found.pin or msgspec.json.encode(pin).decode()
    until = now + ttl_ms
    change = dict(fence=fence, owner=owner, lease_until=until, attempts=attempts, seen=seen, pin=kept)
    tx.run(_TAKE, place | change)
    return Lease(
        job=job,
        generation=generation,
        batch=batch,
        fence=fence,
        owner=owner,
        attempts=attempts,
        pin=msgspec.json.decode(kept, type=Pin),
    )


def open_batches(tx: Tx, job: JobId, now: int) -> list[BatchIndex]:
    row = read_job(tx, job)
    if row is None or row.state == "closed":
        return []
    query = select(batches.c.batch).where(*_open(row, now)).order_by(batches.c.batch)
    return list(tx.run(query).scalars())


def lost_batches(tx: Tx, job: JobId, now: int, quiet_ms: int) -> list[BatchIndex]:
    """Notes what it returns as published, so that two sweepers do not both publish it."""
    row = read_job(tx, job)
    if row is None or row.state == "closed":
        return []
    patience = case((batches.c.fence > 0, quiet_ms), else_=10 * quiet_ms)
    ahead = batches.c.published_at > now  # by a clock that was set back since
    lost = (*_open(row, now), or_(batches.c.published_at + patience <= now, ahead))
    query = update(batches).where(*lost).values(published_at=now).returning(batches.c.batch)
    return sorted(tx.run(query).scalars())


def _open(row: JobRow, now: int) -> tuple[ColumnElement[bool], ...]:
    current = (batches.c.job == row.job, batches.c.generation == row.generation)
    return (*current, batches.c.committed == 0, batches.c.lease_until <= now)


def renew(tx: Tx, lease: Lease, now: int, ttl_ms: int) -> JobRow | None:
    if tx.run(_RENEW, {**_held_by(lease), "until": now + ttl_ms}).rowcount == 0:
        return None
    row = read_job(tx, lease.job)
    if row is None or row.generation != lease.generation or row.state == "closed":
        return None
    return row


def release(tx: Tx, lease: Lease) -> None:
    """Given back in good order, so it does not count as an attempt."""
    given_back = update(batches).where(*_PLACE, *_MINE).values(lease_until=0, owner="", attempts=0)
    tx.run(given_back, _held_by(lease))


def commit_batch(
    tx: Tx, chains: Chains, job: JobId, generation: Generation, batch: BatchIndex, clock: int
) -> int:
    """Also charges what the batch still holds: no later lease of it will."""
    tx.lock_jobs([job])
    place = _place(job, generation, batch)
    current = {"the_job": job, "the_generation": generation}
    if tx.run(_COMMIT, place).rowcount:
        presume_calls(tx, chains, _HELD, clock, place)
        tx.run(_FORGET, place)
        tx.run(_COUNT_UP, current)
        tx.run(_LAST, current)
    return int(tx.run(_LEFT, current).scalar_one())


def presume_orphans(tx: Tx, chains: Chains, clock: int) -> int:
    """Charge what is held for batches that nobody leases any more, so that those waiting for it go on.

    The next lease of such a batch does this too; but when all workers wait for its money, none will take it.
    """
    orphaned = (
        select(calls.c.call_id, calls.c.job)
        .join(
            batches,
            (batches.c.job == calls.c.job)
            & (batches.c.generation == calls.c.generation)
            & (batches.c.batch == calls.c.batch),
        )
        .where(calls.c.state == "held", batches.c.lease_until <= clock)
    )
    found = tx.run(orphaned).all()
    if not found:
        return 0
    tx.lock_jobs([row.job for row in found])
    still = [row.call_id for row in tx.run(orphaned)]
    return presume_calls(tx, chains, held_calls(calls.c.call_id.in_(still)), clock)


def _place(job: JobId, generation: Generation, batch: BatchIndex) -> dict[str, Any]:
    return {"the_job": job, "the_generation": generation, "the_batch": batch}


def _held_by(lease: Lease) -> dict[str, Any]:
    place = _place(lease.job, lease.generation, lease.batch)
    return {**place, "the_fence": lease.fence, "the_owner": lease.owner}
