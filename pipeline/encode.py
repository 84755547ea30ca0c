"""What an endpoint makes of a batch's texts, before any is planned: paid for once, kept in the lake."""

import io
import logging
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cascade.call import Caller
from pipeline.cascade.holder import CONCERNS_THE_BATCH
from pipeline.cascade.rung import Asked, Rung
from pipeline.features.stored import packed
from pipeline.monitoring.logs import ONCE, QUERY
from pipeline.rows import OffLedger
from pipeline.task.length import fit
from pipeline.task.mask import mask
from pipeline.together import together
from pipeline.work import Work
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import QueryId
from schemas.records import Assignment, Lease, Query, Request
from schemas.tables import EMBEDDINGS

log = logging.getLogger("tierwise.encode")


class _Encoded(msgspec.Struct, frozen=True, kw_only=True):
    query_id: QueryId
    vector: bytes = b""
    problem: str | None = None  # why there is no vector
    reused: Asked | None = None  # what cost nothing


async def encoded(
    work: Work, caller: Caller, lease: Lease, queries: Sequence[Query], assigned: Sequence[Assignment]
) -> tuple[Sequence[Query], list[OffLedger]]:
    """The queries with their vectors. One that gets none (its category keeps it to other tiers, the money or the
    endpoint failed) is planned without, and the lake says why. What the first holder of the batch wrote stands, so
    that a redelivery plans alike."""
    rung, storage = work.encoder, work.services.storage
    if rung is None:
        return queries, []
    key = lake.embedding(lease.job, lease.generation, lease.batch)
    known = await _read(work, key) if lease.fence > 1 else None
    off_ledger: list[OffLedger] = []
    if known is None:
        asked = [each for each in zip(queries, assigned, strict=True) if each[0].rejected is None]
        made = await together([_encode(work, rung, caller, *each) for each in asked])
        off_ledger = [_off_ledger(rung, each.query_id, each.reused) for each in made if each.reused]
        if await storage.create(key, _file(work, lease, made)):
            known = {each.query_id: each.vector for each in made}
        else:
            known = await _read(work, key) or {}
    return [
        msgspec.structs.replace(query, vector=known.get(query.query_id, b"")) for query in queries
    ], off_ledger


async def _encode(work: Work, rung: Rung, caller: Caller, query: Query, assignment: Assignment) -> _Encoded:
    if not work.may_see(rung, assignment):
        return _Encoded(query_id=query.query_id, problem=f"not allowed to see {assignment.category or 'it'}")
    text = mask(query.text, work.asking.masked)[0] if work.asking.masked else query.text
    shown = "".join(fit(text, rung.room, "head"))
    QUERY.set(query.query_id)
    try:
        asked = await caller.ask(
            rung,
            Request(system="", user=shown, max_output_tokens=0, query_id=query.query_id),
            query.query_id,
            purpose="embed",
            usable=lambda completion: bool(completion.vector),
        )
    except CONCERNS_THE_BATCH:
        raise
    except Exception as error:
        log.warning("the encoder failed: %s: %s", type(error).__name__, error, extra=ONCE)
        return _Encoded(query_id=query.query_id, problem=f"{type(error).__name__}: {error}"[:300])
    vector = asked.completion.vector if asked.completion else b""
    return _Encoded(
        query_id=query.query_id,
        vector=vector,
        problem=None if vector else asked.problem or "the reply holds no vector",
        reused=asked if asked.reused else None,
    )


def _off_ledger(rung: Rung, query_id: QueryId, asked: Asked) -> OffLedger:
    asked = msgspec.structs.replace(asked, purpose="embed")
    return OffLedger(query_id=query_id, tier=rung.name, asked=asked, model=rung.provider.model)


async def _read(work: Work, key: str) -> dict[QueryId, bytes] | None:
    """What a holder of the batch wrote; None: nobody came so far."""
    try:
        data = await work.services.storage.read(key)
    except NoSuchObject:
        return None
    rows = pq.ParquetFile(io.BytesIO(data)).read(["query_id", "vector"]).combine_chunks()
    ids = map(QueryId, rows["query_id"].to_pylist())
    return dict(zip(ids, packed(rows["vector"].combine_chunks()), strict=True))


def _file(work: Work, lease: Lease, made: Sequence[_Encoded]) -> bytes:
    assert work.learner is not None  # else nobody asked for vectors
    version = work.learner.features.encoder.version
    rows = [
        {
            "job": lease.job,
            "generation": lease.generation,
            "batch": lease.batch,
            "query_id": each.query_id,
            "encoder": version,
            "vector": np.frombuffer(each.vector, dtype=np.float32) if each.vector else None,
            "problem": each.problem,
        }
        for each in made
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=EMBEDDINGS), buffer, compression="zstd")
    return buffer.getvalue()
