"""The next generation of a closed job: only the queries that are still deferred or cancelled."""

from collections.abc import Iterator

from pipeline.audit.ruling import create_ruling, labels_batch, read_ruling
from pipeline.audit.stratified import read_labels
from pipeline.ingest import write_audit_batch, write_batch
from pipeline.ports.ledger import JobRow
from pipeline.rows import read_documents
from pipeline.storage.views import connect
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import Infeasible, UnknownJob
from schemas.ids import BatchIndex, Generation, JobId, Nano
from schemas.records import Query

_OPEN = """
-- Queries without a final answer, with their documents.
SELECT d.query_id, d.text, d.gold, d.fields, d.rejected
FROM documents d JOIN results r ON r.job = d.job AND r.query_id = d.query_id
WHERE d.job = $job AND r.status IN ('deferred', 'cancelled')
ORDER BY d.query_id
"""


async def resume(services: Services, job: JobId, add_budget: Nano | None = None) -> tuple[JobRow, int]:
    """Add money, then begin the next generation if the job is closed with queries open; a job that is still
    running (its workers were killed, say) goes on in its generation. Returns the job and the number of queries
    that are asked again; 0 leaves a closed job as it is. A certified plan stays; an audit that was not asked to its
    end goes on, that of labels too. Raises UnknownJob, Infeasible."""
    row = await _row(services, job)
    ruling = await read_ruling(services.storage, job, row.generation)
    if ruling is not None and ruling.kind in ("infeasible", "quoted") and row.state == "closed":
        raise Infeasible(job=job, why=ruling.reason)
    if add_budget:
        await services.ledger.raise_cap(row.account, add_budget)
    if row.state != "closed":
        return row, await _open_queries(services, row)
    generation = Generation(row.generation + 1)
    pinned = manifest.decode(await services.storage.read(lake.manifest(job)))
    size = pinned.job_spec().input.batch.rows
    batches = queries = 0
    for batch in _batches(services, job, size):
        await write_batch(services.storage, job, generation, BatchIndex(batches), batch)
        batches += 1
        queries += len(batch)
    labels = await read_labels(services.storage, job, row.generation)
    if queries or (labels is not None and labels.unfinished):
        if ruling is not None and ruling.runs:
            await create_ruling(services.storage, job, generation, ruling)
        elif pinned.draw is not None:
            await write_audit_batch(services.storage, job, generation, BatchIndex(batches))
            batches += 1
        if labels_batch(pinned, batches) is not None:
            await write_audit_batch(services.storage, job, generation, BatchIndex(batches))
            batches += 1
        await services.ledger.start_generation(job, row.generation, batches)
    return await _row(services, job), queries


def _batches(services: Services, job: JobId, size: int) -> Iterator[list[Query]]:
    with connect(services.storage) as connection:
        for chunk in connection.sql(_OPEN, params={"job": job}).to_arrow_reader(size):
            yield read_documents(chunk)


async def _open_queries(services: Services, row: JobRow) -> int:
    """An upper bound while the generation runs: the queries of its open batches."""
    pinned = manifest.decode(await services.storage.read(lake.manifest(row.job)))
    per_batch = -(-pinned.queries // max(1, pinned.batches))
    return (row.batches - row.committed) * per_batch


async def _row(services: Services, job: JobId) -> JobRow:
    row = await services.ledger.job(job)
    if row is None:
        raise UnknownJob(job=job)
    return row
