"""When the last batch of a generation is committed: final tables, then the ledger's word that it is closed.

Leased and idempotent: killed anywhere, it is begun again from the commits and the ledger and gives the same files.
"""

import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.certificate import certify
from pipeline.audit.human import open_certificate
from pipeline.combiner import fit_combiner
from pipeline.learning.learn import learn_from
from pipeline.learning.rewards import final_tables
from pipeline.leased import leased
from pipeline.monitoring.logs import about
from pipeline.ports.ledger import Account, JobRow
from pipeline.rows import calls_table
from pipeline.storage.commits import read_commits
from pipeline.storage.final import Part, count_statuses, merging, write_final
from pipeline.storage.reconcile import reconciled
from pipeline.student import train_student
from pipeline.webhook import put_down
from pipeline.work import Work
from schemas import lake
from schemas.errors import LakeUnreachable, LedgerUnreachable
from schemas.ids import BatchIndex, Generation
from schemas.records import Commit, Totals
from schemas.tables import BATCH_TABLES, JOBS, TABLES, usd_column

log = logging.getLogger("tierwise.close")
STATUSES = ("answered", "review", "deferred", "cancelled", "rejected", "failed")


async def close_generation(work: Work, generation: Generation) -> bool:
    """False when another process is closing it, or batches are still open."""
    ledger = work.services.ledger
    ruling = await work.ruling(generation)
    if ruling is not None and ruling.kind == "infeasible":
        await ledger.stop_job(work.job, "infeasible")
    row = await ledger.job(work.job)
    if row is None or row.generation != generation or row.state == "closed":
        return row is not None and row.state == "closed"
    place: dict[str, str | int] = {"job": work.job, "generation": generation}
    async with leased(work.services, f"close/{work.job}/{generation}") as mine:
        with about(**place), work.services.tracer.span("close", **place):
            return mine and await _close(work, row, generation)


async def _close(work: Work, row: JobRow, generation: Generation) -> bool:
    ledger, storage = work.services.ledger, work.services.storage
    commits = await read_commits(storage, work.job, generation)
    if len(commits) < row.batches:
        return False
    await ledger.presume(work.job, generation)
    account, totals = None, None
    while totals != (totals := await ledger.totals(work.job, generation)):
        # a presumed call may come to its true cost meanwhile: then again, so that no table contradicts another
        async with _settled_parts(work, generation, commits, totals) as settled:
            await _publish(work, generation, settled, _parts(commits)["results"], row.batches)
        account = await ledger.account(row.account)
    now = work.services.clock()
    assert account is not None  # a job is entered after its account
    if work.spec.quality is None or work.spec.quality.asks:
        certified = await certify(work, generation, now)
        if certified is not None and work.services.meters is not None:
            work.services.meters.count(
                "tierwise_certificates_total", "certified" if certified else "withheld"
            )
    else:
        await open_certificate(work, generation, now)
    statuses = await count_statuses(storage, work.job)
    await write_final(storage, "jobs", work.job, _job_table(work, row, account, statuses, now))
    await _teach(work, now)
    await _calibrate(work, now)
    await _learn(work, now)
    await _put_down(work, generation, now)
    await ledger.close_generation(work.job, generation, now)
    return True


async def _put_down(work: Work, generation: Generation, now: int) -> None:
    """Nor does a webhook that cannot be written keep a job from closing."""
    try:
        await put_down(work, generation, now)
    except (LakeUnreachable, LedgerUnreachable):
        raise
    except Exception:
        log.exception("no webhook will tell of %s", work.job)


async def _teach(work: Work, now: int) -> None:
    """A student that cannot be taught keeps no job from closing."""
    try:
        await train_student(work.services.storage, work.manifest, now)
    except LakeUnreachable:
        raise
    except Exception:
        log.exception("no student was taught by %s; the next job that closes will", work.job)


async def _calibrate(work: Work, now: int) -> None:
    """Nor does a mistake in the judges' weights."""
    try:
        await fit_combiner(work.services.storage, work.manifest, now)
    except LakeUnreachable:
        raise
    except Exception:
        log.exception("the judges' weights were not fitted on %s; the next job that closes will", work.job)


async def _learn(work: Work, now: int) -> None:
    """No mistake in what is learned keeps a job from closing; `tierwise learn` makes up for it."""
    if work.learner is None:
        return
    try:
        await learn_from(work.learner, final_tables(work.job), now)
    except LakeUnreachable:
        raise
    except Exception:
        log.exception("nothing was learned from %s; `tierwise learn %s`", work.job, work.learner.policy)


@asynccontextmanager
async def _settled_parts(
    work: Work, generation: Generation, commits: Sequence[Commit], known: Mapping[BatchIndex, Totals]
) -> AsyncIterator[Mapping[str, Sequence[Part]]]:
    """The parts as they are; those of batches on which the ledger has moved on since they were written (a presumed
    call came to its true cost), or for whose queries an earlier generation paid, with its last word on money."""
    same = {
        each.batch for each in commits if generation == 1 and each.ledger == known.get(each.batch, Totals())
    }
    moved = [each for each in commits if each.batch not in same]
    if not moved:
        yield _parts(commits)
        return
    with tempfile.TemporaryDirectory(prefix="tierwise-close-") as folder:
        calls = Path(folder) / "ledger.parquet"
        await _dump_calls(work, generation, moved, calls)
        async with reconciled(work.services.storage, work.job, generation, _parts(moved), calls) as files:
            kept = _parts([each for each in commits if each.batch in same])
            yield _parts(commits) | {table: [*kept[table], path] for table, path in files.items()}


def _parts(commits: Sequence[Commit]) -> dict[str, list[str]]:
    return {table: [commit.files[table] for commit in commits] for table in BATCH_TABLES}


async def _dump_calls(work: Work, generation: Generation, commits: Sequence[Commit], target: Path) -> None:
    """The ledger's calls of these batches as a file, one after the other, so that memory stays flat."""
    with pq.ParquetWriter(target, TABLES["calls"], compression="zstd", compression_level=1) as writer:
        for commit in commits:
            calls = await work.services.ledger.calls(work.job, generation, BatchIndex(commit.batch))
            if calls:
                writer.write_table(calls_table(work.job, generation, calls))


async def _publish(
    work: Work,
    generation: Generation,
    parts: Mapping[str, Sequence[Part]],
    results: Sequence[Part],
    batches: int,
) -> None:
    """Each table in one step; `results` (the generation's own parts) names the queries whose rows are replaced."""
    job = work.job
    documents = [lake.batch_file(job, generation, BatchIndex(index)) for index in range(batches)]
    async with merging(work.services.storage) as merger:
        for table in ("calls", "call_items"):
            await merger.publish(table, job, generation, parts[table])
        for table in ("decisions", "votes"):
            await merger.publish(table, job, generation, parts[table], replaced_by=results)
        await merger.publish("documents", job, generation, documents)
        await merger.publish("results", job, generation, parts["results"], replaced_by=results)


def _job_table(work: Work, row: JobRow, account: Account, statuses: dict[str, int], now: int) -> pa.Table:
    """The one row of `jobs`, published last: with it the job leaves the live views."""
    pinned = work.manifest
    low, high = pinned.forecast or (None, None)
    values: dict[str, Any] = {
        "job": work.job,
        "generation": row.generation,
        "name": pinned.job_spec().name,
        "spec_hash": pinned.spec_hash,
        "prompt_hash": pinned.prompt_hash,
        "policy_version": pinned.policy_version,
        "account": row.account,
        "cap_usd": account.cap,
        "spent_usd": account.spent,
        "presumed_usd": account.presumed,
        "forecast_low_usd": low,
        "forecast_high_usd": high,
        "queries": sum(statuses.values()),
        **{status: statuses.get(status, 0) for status in STATUSES},
        "stop": row.stop,
        "schedule": pinned.scheduled.schedule if pinned.scheduled else None,
        "scheduled_at": _time(pinned.scheduled.scheduled_at) if pinned.scheduled else None,
        "created_at": _time(row.created_at),
        "closed_at": _time(now),
        "spec": json.dumps(pinned.spec, ensure_ascii=False),
    }
    columns = [
        usd_column([values[field.name]])
        if field.name.endswith("_usd") and values[field.name] is not None
        else pa.array([values[field.name]], field.type)
        for field in JOBS
    ]
    return pa.Table.from_arrays(columns, schema=JOBS)


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).replace(tzinfo=None)
