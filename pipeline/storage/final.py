"""Parts in, final tables out: one Parquet object per table and job, replaced whole."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.storage import Storage
from pipeline.storage.commits import AT_ONCE
from pipeline.storage.local import LocalStorage
from pipeline.storage.merge import MEMORY, Merge, connect, explained, merge_files
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import Generation, JobId
from schemas.tables import TABLES

if TYPE_CHECKING:
    import duckdb

Part = str | Path  # a key of the lake, or a local file with rows that no batch wrote


async def write_part(storage: Storage, key: str, rows: pa.Table) -> int:
    """Write a batch's rows (a table of thousands, built in memory); returns bytes. Parts live until the close: what
    packs fast is worth more there than what packs small."""
    data = await asyncio.to_thread(_parquet, rows, "snappy")
    await storage.write(key, data)
    return len(data)


async def write_final(storage: Storage, table: str, job: JobId, rows: pa.Table) -> None:
    """Replace a job's final table by a few rows held in memory, as `jobs` and `certificates` have."""
    rows = rows.select(TABLES[table].names).cast(TABLES[table])
    await storage.write(lake.final(table, job), await asyncio.to_thread(_parquet, rows, "zstd"))


async def count_statuses(storage: Storage, job: JobId) -> dict[str, int]:
    """How many of a job's published results ended in each status."""
    async with scratch(storage) as folder:
        (path,) = await fetch_parts(storage, [lake.final("results", job)], folder)
        rows = await asyncio.to_thread(lambda: pq.ParquetFile(path).read(["status"]))
    counted = rows["status"].value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in counted}


class Merger:
    """Publishes the final tables of jobs that close a generation."""

    def __init__(self, storage: Storage, connection: "duckdb.DuckDBPyConnection") -> None:
        self._storage, self._connection = storage, connection

    async def publish(
        self,
        table: str,
        job: JobId,
        generation: Generation,
        parts: Sequence[Part],
        *,
        replaced_by: Sequence[Part] = (),
    ) -> int:
        """Publish one table; returns its number of rows.

        `parts` hold this generation's rows. Rows of earlier generations stay, except those of the queries found
        in `replaced_by` (this generation's `results` parts). Every row gets this `generation`. Streams, spills,
        and gives the same rows when repeated, in any order. Publish `jobs` last: it closes the live views.
        Raises NoSuchObject for a missing part, LeaseLost when a later generation was published already.
        """
        storage = self._storage
        async with scratch(storage) as folder:
            old = await _old(storage, lake.final(table, job), folder)
            merge = Merge(
                table=table,
                generation=generation,
                folder=folder,
                old=old,
                new=await fetch_parts(storage, parts, folder),
                replaced=await fetch_parts(storage, replaced_by if old else (), folder),
            )
            target, rows = await asyncio.to_thread(merge_files, self._connection, merge)
            await storage.publish(lake.final(table, job), target)
            return rows


@asynccontextmanager
async def merging(storage: Storage, memory: str = MEMORY) -> AsyncIterator[Merger]:
    """One DuckDB for all tables of a close. Raises LakeUnreachable when there is no room."""
    async with scratch(storage) as folder:
        with explained(storage.uri):
            # closed by its last user: a close that is cancelled leaves a merge running in its thread
            yield Merger(storage, await asyncio.to_thread(connect, folder, memory))


@asynccontextmanager
async def scratch(storage: Storage) -> AsyncIterator[Path]:
    """For a local lake on its own filesystem, so that publishing is a rename."""
    place = storage.scratch() if isinstance(storage, LocalStorage) else None
    with tempfile.TemporaryDirectory(
        dir=place, prefix="merge-"
    ) as folder:  # in no thread: a cancel would lose it
        yield Path(folder)


async def _old(storage: Storage, key: str, folder: Path) -> Path | None:
    try:
        return await _fetch(storage, key, folder)
    except NoSuchObject:
        return None


async def fetch_parts(storage: Storage, parts: Sequence[Part], folder: Path) -> list[Path]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(part: Part) -> Path:
        async with turn:
            return part if isinstance(part, Path) else await _fetch(storage, part, folder)

    return list(await asyncio.gather(*map(one, parts)))


async def _fetch(storage: Storage, key: str, folder: Path) -> Path:
    """Local objects are read where they lie."""
    if isinstance(storage, LocalStorage):
        path = storage.path(key)
        if not path.is_file():
            raise NoSuchObject(key=key)
        return path
    path = folder / f"{uuid4().hex}.parquet"
    await storage.fetch(key, path)
    return path


def _parquet(rows: pa.Table, compression: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression=compression)
    return buffer.getvalue()
