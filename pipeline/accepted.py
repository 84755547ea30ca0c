"""What closed jobs of a task were answered: the examples, near-duplicates and training rows of later jobs."""

import asyncio
import io
from collections.abc import Sequence
from importlib.resources import files

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.hashing import HashingEncoder
from pipeline.history.past import EXAMPLE_BYTES, Former, Past, read_past
from pipeline.ports.storage import Storage
from pipeline.storage.views import connect
from pipeline.task.mask import mask
from pipeline.taxonomy.classify import Taxonomy
from pipeline.taxonomy.tree import ROOT
from schemas.job import JobSpec
from schemas.manifest import Manifest
from schemas.records import Query


def read_accepted(storage: Storage, prompt_hash: str, most: int) -> pa.Table:
    """The latest `most` answers of the task, each text once: the fields of `Former`. Blocking."""
    sql = files("pipeline").joinpath("accepted.sql").read_text(encoding="utf-8")
    with connect(storage) as connection:
        return connection.sql(sql, params={"prompt_hash": prompt_hash, "most": most}).to_arrow_table()


async def open_past(
    storage: Storage, pinned: Manifest, spec: JobSpec, taxonomy: Taxonomy | None
) -> Past | None:
    """The answers that submit pinned. A document that some tier may not see is no example."""
    if pinned.past is None:
        return None
    rows = read_past(pq.read_table(io.BytesIO(await storage.read(pinned.past))))

    def build() -> Past:
        queries = [Query(query_id=row.query_id, text=row.text) for row in rows]
        assigned = taxonomy.classify(queries) if taxonomy else [ROOT] * len(rows)
        allowed = [taxonomy is None or taxonomy.allowed(each) is None for each in assigned]
        masked = spec.task.mask
        shown = [example_of(row, masked) if may else None for row, may in zip(rows, allowed, strict=True)]
        return Past(rows, HashingEncoder(), shown=shown)

    return await asyncio.to_thread(build)


def example_of(row: Former, masked: Sequence[str]) -> tuple[str, str] | None:
    """A document and its answer, masked alike; None: too long to be shown."""
    answer = row.label if row.label is not None else row.answer
    if len(row.text.encode()) + len(answer.encode()) > EXAMPLE_BYTES:
        return None
    text, _, reply = mask(f"{row.text}\0{answer}", masked)[0].rpartition("\0")
    return text, reply
