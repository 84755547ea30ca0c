"""When the last batch of a generation is committed: final tables, then the ledger's word that it is closed.

Leased and idempotent: killed anywhere, it is begun again from the commits and the ledger and gives the same files.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.ledger import Account, JobRow
from pipeline.rows import calls_table
from pipeline.storage.commits import read_commits
from pipeline.storage.final import Part, count_statuses, merge_final, write_final
from pipeline.storage.reconcile import reconciled
from pipeline.work import Work
from schemas import lake
from schemas.errors import LedgerUnreachable
from schemas.ids import BatchIndex, Fence, Generation
from schemas.records import Commit, Totals
from schemas.tables import JOBS, TABLES, usd_column

STATUSES = ("answered", "review", "deferred", "cancelled", "rejected", "failed")


async def close_generation(work: Work, generation: Generation) -> bool:
    """False when another process is closing it, or batches are still open."""
    ledger, clock, owner = work.services.ledger, work.services.clock, work.services.owner
    row = await ledger.job(work.job)
    if row is None or row.generation != generation or row.state == "closed":
        return row is not None and row.state == "closed"
    name = f"close/{work.job}/{generation}"
    fence = await ledger.take(name, owner=owner, now=clock(), ttl_ms=work.services.timing.lease)
    if fence is None:
        return False
    keeping = asyncio.create_task(_keep(work, name, fence))
    try:
        return await _close(work, row, generation)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await ledger.give_back(name, owner=owner, fence=fence)


async def _keep(work: Work, name: str, fence: Fence) -> None:
    ledger, clock, owner = work.services.ledger, work.services.clock, work.services.owner
    ttl = work.services.timing.lease
    while True:
        await asyncio.sleep(ttl / 3000)
        with suppress(LedgerUnreachable):  # closing twice at once gives the same files
            await ledger.keep(name, owner=owner, fence=fence, now=clock(), ttl_ms=ttl)


async def _close(work: Work, row: JobRow, generation: Generation) -> bool:
    ledger, storage = work.services.ledger, work.services.storage
    commits = await read_commits(storage, work.job, generation)
    if len(commits) < row.batches:
        return False
    await ledger.presume(work.job, generation)
    parts = {table: [commit.files[table] for commit in commits] for table in commits[0].files}
    async with _settled_parts(work, generation, commits, parts) as settled:
        await _publish(work, generation, settled, parts["results"], row.batches)
    now = work.services.clock()
    account = await ledger.account(row.account)
    assert account is not None  # a job is entered after its account
    statuses = await count_statuses(storage, work.job)
    await write_final(storage, "jobs", work.job, _job_table(work, row, account, statuses, now))
    await ledger.close_generation(work.job, generation, now)
    return True


@asynccontextmanager
async def _settled_parts(
    work: Work, generation: Generation, commits: Sequence[Commit], parts: dict[str, list[str]]
) -> AsyncIterator[dict[str, Sequence[Part]]]:
    """The parts as they are; where the ledger has moved on since they were written (a presumed call came to its
    true cost), or an earlier generation paid for the same queries, with its last word on money."""
    written = sum((commit.ledger for commit in commits), Totals())
    if generation == 1 and written == await work.services.ledger.totals(work.job, generation):
        yield {**parts}
        return
    with tempfile.TemporaryDirectory(prefix="tierwise-close-") as folder:
        calls = Path(folder) / "ledger.parquet"
        await _dump_calls(work, generation, commits, calls)
        async with reconciled(work.services.storage, work.job, generation, parts, calls) as files:
            yield {**parts, **{table: [path] for table, path in files.items()}}


async def _dump_calls(work: Work, generation: Generation, commits: Sequence[Commit], target: Path) -> None:
    """The ledger's calls of the generation as a file, batch by batch, so that memory stays flat."""
    with pq.ParquetWriter(target, TABLES["calls"], compression="zstd", compression_level=1) as writer:
        for commit in commits:
            calls = await work.services.ledger.calls(work.job, generation, BatchIndex(commit.batch))
            if calls:
                writer.write_table(calls_table(work.job, generation, calls))


async def _publish(
    work: Work,
    generation: Generation,
    parts: dict[str, Sequence[Part]],
    results: Sequence[Part],
    batches: int,
) -> None:
    """Each table in one step; `results` (the generation's own parts) names the queries whose rows are replaced."""
    storage, job = work.services.storage, work.job
    for table in ("calls", "call_items"):
        await merge_final(storage, table, job, generation, parts[table])
    for table in ("decisions", "votes"):
        await merge_final(storage, table, job, generation, parts[table], replaced_by=results)
    documents = [lake.batch_file(job, generation, BatchIndex(index)) for index in range(batches)]
    await merge_final(storage, "documents", job, generation, documents)
    await merge_final(storage, "results", job, generation, parts["results"], replaced_by=results)


def _job_table(work: Work, row: JobRow, account: Account, statuses: dict[str, int], now: int) -> pa.Table:
    """The one row of `jobs`, published last: with it the job leaves the live views."""
    pinned = work.manifest
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
        "queries": sum(statuses.values()),
        **{status: statuses.get(status, 0) for status in STATUSES},
        "stop": row.stop,
        "created_at": _time(row.created_at),
        "closed_at": _time(now),
        "spec": json.dumps(pinned.spec, ensure_ascii=False),
    }
    columns = [
        usd_column([values[field.name]])
        if field.name.endswith("_usd")
        else pa.array([values[field.name]], field.type)
        for field in JOBS
    ]
    return pa.Table.from_arrays(columns, schema=JOBS)


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).replace(tzinfo=None)
