"""The lake's schema version: refused where it is newer, migrated step by step where it is older.

A column that is added needs no step: files without it read as null. A column that is renamed, retyped or dropped takes
a new version and a step here, which rewrites the files that hold it. While steps run the lake says so, and nobody reads
or writes it; each file is replaced in one go, and a step that broke off is run again from its beginning.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.storage import Storage
from pipeline.storage.final import fetch_parts, scratch
from schemas import lake
from schemas.errors import NewerSchema, NoSuchObject, OlderSchema
from schemas.tables import VERSION

Change = Callable[[pa.Table], pa.Table]


class Step(NamedTuple):
    """From one version to the next. `run` can be run again on what it has done in part or in whole."""

    name: str
    run: Callable[[Storage], Awaitable[None]]


STEPS: Sequence[Step] = ()  # from version 1 on, one each


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What a lake says of itself."""

    version: int = 1  # of a lake from before versions were kept, too
    migrating: bool = False


def check(stated: Stated, url: str) -> None:
    """Raises NewerSchema, OlderSchema."""
    if stated.version > VERSION:
        raise NewerSchema(name="lake", url=url, why=f"{stated.version} (known here: {VERSION})")
    if stated.migrating:
        raise OlderSchema(url=url, why=f"{stated.version}, on its way to another")
    if stated.version < VERSION:
        raise OlderSchema(url=url, why=f"{stated.version}, and this Tierwise works with {VERSION}")


def decode(data: bytes | None) -> Stated:
    return Stated() if data is None else msgspec.json.decode(data, type=Stated)


async def read_stated(storage: Storage) -> Stated:
    try:
        return decode(await storage.read(lake.VERSION))
    except NoSuchObject:
        return Stated()


async def state_version(storage: Storage) -> None:
    """A new lake states its version before anything else; one that has tables and states none is of the first.
    Raises as `check`."""
    try:
        stated = decode(await storage.read(lake.VERSION))
    except NoSuchObject:
        old = await storage.list(lake.empty("jobs").removesuffix("data.parquet"))
        await storage.create(lake.VERSION, msgspec.json.encode(Stated(version=1 if old else VERSION)))
        stated = await read_stated(storage)  # another process may have been first
    check(stated, storage.uri)


async def migrate(storage: Storage) -> list[str]:
    """Bring an older lake up, with nobody at work in it; the names of the steps taken. Raises NewerSchema."""
    stated = await read_stated(storage)
    if stated.version > VERSION:
        check(stated, storage.uri)
    steps = STEPS[stated.version - 1 :]
    for version, step in enumerate(steps, stated.version):
        await storage.write(lake.VERSION, msgspec.json.encode(Stated(version=version, migrating=True)))
        await step.run(storage)
        last = version + 1 == VERSION
        await storage.write(
            lake.VERSION, msgspec.json.encode(Stated(version=version + 1, migrating=not last))
        )
    return [step.name for step in steps]


async def rewrite(storage: Storage, table: str, change: Change) -> None:
    """Replace each file of a table by what `change` makes of it, row group by row group; one that it leaves as it is
    stays. `change` gets tables of any version of the step: it looks at the columns."""
    for folder in (f"{table}/", f"_live/{table}/"):
        for key in await storage.list(folder):
            async with scratch(storage) as place:
                (source,) = await fetch_parts(storage, [key], place)
                target = place / "changed.parquet"
                if await asyncio.to_thread(_change, pq.ParquetFile(source), target, change):
                    await storage.publish(key, target)


def _change(source: pq.ParquetFile, target: object, change: Change) -> bool:
    schema = change(source.schema_arrow.empty_table()).schema
    if schema.equals(source.schema_arrow):
        return False
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for number in range(source.num_row_groups):
            writer.write_table(change(source.read_row_group(number)))
    return True
