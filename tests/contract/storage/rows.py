"""Rows for tests: a table's columns filled with plausible values, and the ones a test cares about."""

from typing import Any

import pyarrow as pa

from pipeline.ports.storage import Storage
from pipeline.storage.commits import create_commit
from pipeline.storage.final import merging, write_part
from pipeline.storage.merge import MEMORY
from schemas import lake
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Commit
from schemas.tables import BATCH_TABLES, NUMBERS, TABLES, TEXT, TEXTS, TIME, USD, usd_column

J = JobId("J")


def filled(table: str, queries: list[str], **columns: Any) -> pa.Table:
    """One row per query; a column given as a scalar is the same in all rows."""
    given = {"job": "J", "generation": 1, "asked_in": 1, "batch": 0, **columns, "query_id": queries}
    arrays = [_column(field, given.get(field.name), len(queries)) for field in TABLES[table]]
    return pa.Table.from_arrays(arrays, schema=TABLES[table])


def _column(field: pa.Field, value: Any, size: int) -> pa.Array:
    if field.type == USD:
        return usd_column(value if isinstance(value, list) else [value or 1_000] * size)
    if value is None:
        value = _plain(field.type)
    values = value if isinstance(value, list) and field.type not in (TEXTS, NUMBERS) else [value] * size
    return pa.array(values, field.type)


def _plain(kind: pa.DataType) -> Any:
    if kind == TEXT:
        return "text"
    if kind == TEXTS:
        return ["cheap", "dear"]
    if kind == NUMBERS:
        return [0.9, 0.0]
    if kind == TIME:
        return 1_700_000_000_123
    return False if kind == pa.bool_() else 1


async def put_batch(
    storage: Storage, batch: int, queries: list[str], *, generation: int = 1, fence: int = 1, **columns: Any
) -> Commit:
    """Write the parts of a batch; the commit is returned, not created."""
    files = {}
    for table in BATCH_TABLES:
        key = lake.part(table, J, Generation(generation), BatchIndex(batch), Fence(fence))
        rows = filled(
            table,
            queries,
            generation=generation,
            asked_in=generation,
            batch=batch,
            **columns.get(table, columns),
        )
        await write_part(storage, key, rows)
        files[table] = key
    return Commit(
        job=J,
        generation=Generation(generation),
        batch=BatchIndex(batch),
        fence=Fence(fence),
        files=files,
        rows=dict.fromkeys(files, len(queries)),
        statuses={},
        tiers={},
    )


async def land_batch(storage: Storage, batch: int, queries: list[str], **columns: Any) -> Commit:
    """Write the parts of a batch and commit it."""
    commit = await put_batch(storage, batch, queries, **columns)
    assert await create_commit(storage, commit)
    return commit


def job_row(generation: int = 1) -> pa.Table:
    return filled("jobs", ["one"], generation=generation)


async def merge_final(storage: Storage, *table: Any, memory: str = MEMORY, **more: Any) -> int:
    """One table alone."""
    async with merging(storage, memory) as merger:
        return await merger.publish(*table, **more)
