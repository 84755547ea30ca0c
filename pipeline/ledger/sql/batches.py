"""Batches and their leases: who may commit one, with a fence that grows with each holder."""

import msgspec
from sqlalchemy import ColumnElement, case, func, select, update

from pipeline.ledger.rules import COMPLETE, lease_refusal
from pipeline.ledger.sql.jobs import read_job
from pipeline.ledger.sql.money import Chains, presume_calls
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import batches, calls, jobs
from pipeline.ports.ledger import JobRow, Refusal
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Lease, Pin


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
    found = tx.run(select(batches).where(*place).with_for_update()).first()
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
    presume_calls(tx, chains, _calls_of(job, generation, batch), clock)
    seen = _replies(tx, job, generation, batch)
    attempts = 1 if seen > found.seen else found.attempts + 1
    fence = Fence(found.fence + 1)
    kept = found.pin or msgspec.json.encode(pin).decode()
    until = now + ttl_ms
    change = dict(fence=fence, owner=owner, lease_until=until, attempts=attempts, seen=seen, pin=kept)
    tx.run(update(batches).where(*place).values(change))
    return Lease(
        job=job,
        generation=generation,
        batch=batch,
        fence=fence,
        owner=owner,
        attempts=attempts,
        pin=msgspec.json.decode(kept, type=Pin),
    )


def _replies(tx: Tx, job: JobId, generation: Generation, batch: BatchIndex) -> int:
    """How many complete replies the batch has journalled: more than at the last lease is progress."""
    counted = select(func.count()).where(
        *_calls_of(job, generation, batch), calls.c.outcome.in_(sorted(COMPLETE))
    )
    return int(tx.run(counted).scalar_one())


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
    lost = (*_open(row, now), batches.c.published_at + patience <= now)
    query = update(batches).where(*lost).values(published_at=now).returning(batches.c.batch)
    return sorted(tx.run(query).scalars())


def _open(row: JobRow, now: int) -> tuple[ColumnElement[bool], ...]:
    current = (batches.c.job == row.job, batches.c.generation == row.generation)
    return (*current, batches.c.committed == 0, batches.c.lease_until <= now)


def renew(tx: Tx, lease: Lease, now: int, ttl_ms: int) -> JobRow | None:
    change = (
        update(batches).where(*_held_by(lease), batches.c.committed == 0).values(lease_until=now + ttl_ms)
    )
    if tx.run(change).rowcount == 0:
        return None
    row = read_job(tx, lease.job)
    if row is None or row.generation != lease.generation or row.state == "closed":
        return None
    return row


def release(tx: Tx, lease: Lease) -> None:
    """Given back in good order, so it does not count as an attempt."""
    tx.run(update(batches).where(*_held_by(lease)).values(lease_until=0, owner="", attempts=0))


def commit_batch(
    tx: Tx, chains: Chains, job: JobId, generation: Generation, batch: BatchIndex, clock: int
) -> int:
    """Also charges what the batch still holds: no later lease of it will."""
    tx.lock_jobs([job])
    change = (
        update(batches).where(*_place(job, generation, batch), batches.c.committed == 0).values(committed=1)
    )
    if tx.run(change).rowcount:
        presume_calls(tx, chains, _calls_of(job, generation, batch), clock)
        current = (jobs.c.job == job, jobs.c.generation == generation)
        tx.run(update(jobs).where(*current).values(committed=jobs.c.committed + 1))
        done = (jobs.c.state == "running", jobs.c.committed >= jobs.c.batches)
        tx.run(update(jobs).where(*current, *done).values(state="closing"))
    left = select(func.count()).where(
        batches.c.job == job, batches.c.generation == generation, batches.c.committed == 0
    )
    return int(tx.run(left).scalar_one())


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
    return presume_calls(tx, chains, [calls.c.call_id.in_(still)], clock)


def _place(job: JobId, generation: Generation, batch: BatchIndex) -> tuple[ColumnElement[bool], ...]:
    return (batches.c.job == job, batches.c.generation == generation, batches.c.batch == batch)


def _held_by(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    mine = (batches.c.fence == lease.fence, batches.c.owner == lease.owner)
    return (*_place(lease.job, lease.generation, lease.batch), *mine)


def _calls_of(job: JobId, generation: Generation, batch: BatchIndex) -> tuple[ColumnElement[bool], ...]:
    return (calls.c.job == job, calls.c.generation == generation, calls.c.batch == batch)
