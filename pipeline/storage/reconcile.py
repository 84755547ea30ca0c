"""The rows of a closing generation with the ledger's last word on what each call cost."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from pipeline.ports.storage import Storage
from pipeline.storage.final import fetch_parts, scratch
from pipeline.storage.merge import connect, explained, row_group, view
from pipeline.storage.sql import named, quote, read_sql
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import Generation, JobId
from schemas.tables import TABLES

RECONCILED = ("results", "calls", "call_items")


@asynccontextmanager
async def reconciled(
    storage: Storage, job: JobId, generation: Generation, parts: Mapping[str, Sequence[str]], ledger: Path
) -> AsyncIterator[dict[str, Path]]:
    """One local file per reconciled table, there while the block runs. `ledger`: its calls, as a `calls` file."""
    async with scratch(storage) as folder:
        files = {name: await fetch_parts(storage, parts[name], folder) for name in RECONCILED}
        files["ledger"] = [ledger]
        files["earlier_files"] = await _earlier(storage, job, folder)
        yield await asyncio.to_thread(_run, storage.uri, generation, files, folder)


async def _earlier(storage: Storage, job: JobId, folder: Path) -> list[Path]:
    try:
        return await fetch_parts(storage, [lake.final("calls", job)], folder)
    except NoSuchObject:
        return []


def _run(uri: str, generation: Generation, files: Mapping[str, list[Path]], folder: Path) -> dict[str, Path]:
    statements = named(read_sql("reconcile.sql"))
    made = {}
    with explained(uri), closing(connect(folder)) as connection:
        seen = {
            name: view(connection, name, paths, TABLES.get(name, TABLES["calls"]), folder)
            for name, paths in files.items()
        }
        connection.execute(statements["earlier"].format(generation=int(generation)))
        for name in RECONCILED:
            made[name] = folder / f"reconciled-{name}.parquet"
            rows = row_group(generation, seen[name])
            connection.execute(statements[name].format(target=quote(str(made[name])), row_group=rows))
    return made
