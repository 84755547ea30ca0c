"""Jobs and their generations."""

from sqlalchemy import bindparam, insert, select, update

from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.money import held_calls, presume_calls
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import batches, calls, jobs
from pipeline.ports.ledger import JobRow, StopReason
from schemas.ids import AccountId, Generation, JobId

CHUNK = 1000  # batch rows per statement
_JOB = select(jobs).where(jobs.c.job == bindparam("name"))  # built once, like all that a batch needs


def create_job(tx: Tx, job: JobId, *, name: str, account: AccountId, count: int, now: int) -> bool:
    tx.lock_jobs([job])
    if read_job(tx, job) is not None:
        return False
    row = {
        "job": job, "name": name, "account": account, "generation": 1, "state": "running", "stop": None,
        "batches": count, "committed": 0, "created_at": now, "closed_at": None,
    }  # fmt: skip
    tx.run(insert(jobs).values(row))
    _add_batches(tx, job, Generation(1), count, now)
    return True


def _add_batches(tx: Tx, job: JobId, generation: Generation, count: int, now: int) -> None:
    for start in range(0, count, CHUNK):
        numbers = range(start, min(count, start + CHUNK))
        same = {"job": job, "generation": generation, "published_at": now}
        tx.run(insert(batches), [{**same, "batch": number} for number in numbers])


def read_job(tx: Tx, job: JobId) -> JobRow | None:
    row = tx.run(_JOB, {"name": job}).first()
    return None if row is None else JobRow(**row._mapping)


def read_jobs(tx: Tx) -> list[JobRow]:
    return [JobRow(**row._mapping) for row in tx.run(select(jobs).order_by(jobs.c.created_at, jobs.c.job))]


def stop_job(tx: Tx, job: JobId, reason: StopReason) -> None:
    """A job halted over its hold stays so, even when it is cancelled after."""
    change = update(jobs).where(jobs.c.job == job).values(stop=reason)
    tx.run(change if reason == "over_hold" else change.where(jobs.c.stop.is_(None)))


def start_generation(tx: Tx, job: JobId, after: Generation, count: int, clock: int) -> bool:
    tx.lock_jobs([job])
    begun = Generation(after + 1)
    closed = update(jobs).where(jobs.c.job == job, jobs.c.generation == after, jobs.c.state == "closed")
    fresh = {"generation": begun, "state": "running", "stop": None, "closed_at": None}
    if tx.run(closed.values(**fresh, batches=count, committed=0)).rowcount == 0:
        return False
    _add_batches(tx, job, begun, count, clock)
    return True


def close_generation(
    tx: Tx, chains: Chains, job: JobId, generation: Generation, now: int, clock: int
) -> None:
    """From here on nothing of the generation is held, and nothing more can be."""
    tx.lock_jobs([job])
    presume(tx, chains, job, generation, clock)
    current = (jobs.c.job == job, jobs.c.generation == generation, jobs.c.state != "closed")
    tx.run(update(jobs).where(*current).values(state="closed", closed_at=now))


def presume(tx: Tx, chains: Chains, job: JobId, generation: Generation, clock: int) -> int:
    tx.lock_jobs([job])
    held = held_calls(calls.c.job == job, calls.c.generation == generation)
    return presume_calls(tx, chains, held, clock)
