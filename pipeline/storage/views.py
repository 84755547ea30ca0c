"""The lake as tables: the same views on a connection of ours and in the analyst's `tierwise.duckdb`."""

import asyncio
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.storage import Storage
from pipeline.storage.catalog import VIEWS, script
from pipeline.storage.confine import confine
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.sql import escape_glob, quote
from pipeline.storage.versions import check, decode, state_version
from schemas import lake
from schemas.errors import LakeUnreachable, NoSuchObject, TierwiseError
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Commit
from schemas.tables import BATCH_TABLES, TABLES

if TYPE_CHECKING:
    import duckdb

    from pipeline.storage.s3 import S3Storage

ATTEMPTS = 3
DATABASE = "tierwise.duckdb"
_STORED_AS = "v1.0.0"  # a DuckDB 2 file is unreadable to 1.x unless written so
_NO_COMMIT = Commit(
    job=JobId("_schema"),
    generation=Generation(0),
    batch=BatchIndex(0),
    fence=Fence(0),
    files={},
    rows={},
    statuses={},
    tiers={},
)


async def prepare_lake(storage: Storage) -> None:
    """Make what every view needs to bind. Idempotent, and safe in many processes at once. Raises NewerSchema,
    OlderSchema."""
    await state_version(storage)
    await asyncio.gather(*(_write_schema(storage, key, schema) for key, schema in _schemas()))
    await storage.create(lake.empty_commit(), msgspec.json.encode(_NO_COMMIT))
    await storage.create(VIEWS, view_script(storage).encode())
    if isinstance(storage, LocalStorage) and not storage.path(DATABASE).exists():
        await storage.create(DATABASE, await asyncio.to_thread(_database, storage))


async def rebuild_views(storage: Storage) -> None:
    """After a move of the lake: views.sql and tierwise.duckdb with its new place. Views of an analyst's own
    in that file are lost. Raises LakeUnreachable while someone has it open for writing."""
    await prepare_lake(storage)
    await storage.write(VIEWS, view_script(storage).encode())
    if isinstance(storage, LocalStorage):
        _refuse_open_database(storage)
        await storage.write(DATABASE, await asyncio.to_thread(_database, storage))


def connect(storage: Storage, *, commented: bool = False) -> "duckdb.DuckDBPyConnection":
    """An in-memory connection with the views, confined to them; blocking, close it when done. `commented`: with the
    comments that an analyst asks `duckdb_columns()` for. Raises LakeUnreachable, NewerSchema, OlderSchema."""
    import duckdb

    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")
        _make_views(connection, storage, commented)
        confine(connection, _places(storage))
    except TierwiseError:
        connection.close()
        raise
    except (duckdb.Error, OSError) as error:
        connection.close()
        why = f"its tables cannot be read ({_reason(error)})"
        fix = "Check TIERWISE_LAKE; a run makes the lake."
        if isinstance(error, duckdb.BinderException):
            fix = "An older Tierwise made it: `tierwise doctor` adds the columns it lacks."
        raise LakeUnreachable(url=storage.uri, why=why, fix=fix) from error
    return connection


def ask(
    connection: "duckdb.DuckDBPyConnection", sql: str, values: Mapping[str, object] | None = None
) -> "duckdb.DuckDBPyConnection":
    """Execute, again when a job closed in the middle of it: DuckDB opens a file once for its footer and once for
    its rows, and fails loudly when it was replaced in between."""
    import duckdb

    for _ in range(ATTEMPTS - 1):
        try:
            return connection.execute(sql, values)
        except (duckdb.IOException, duckdb.InvalidInputException):
            continue
    return connection.execute(sql, values)


def _reason(error: Exception) -> str:
    """One line: DuckDB's own come first; a Python file system's come last, below a traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


async def _write_schema(storage: Storage, key: str, schema: pa.Schema) -> None:
    """A newer lake keeps its columns; an older one gains ours, so that its files read as null there."""
    try:
        known = pq.read_schema(io.BytesIO(await storage.read(key)))
    except NoSuchObject:
        known = None
    if known is not None and set(schema.names) <= set(known.names):
        return
    await storage.write(key, _empty_file(schema))


def view_script(storage: Storage) -> str:
    """views.sql with the lake's place filled in."""
    return script(_root(storage))


def _root(storage: Storage) -> str:
    """The lake's place as a glob begins with it."""
    if isinstance(storage, LocalStorage):
        return escape_glob(str(storage.root))
    if isinstance(storage, MemoryStorage):
        return "memory://lake"
    return _s3(storage).location.url


def _places(storage: Storage) -> list[str]:
    """The lake's place as a glob and as a file found by it may name it, links followed or not."""
    if not isinstance(storage, LocalStorage):
        return [_root(storage)]
    paths = {str(storage.root), os.path.realpath(storage.root)}
    return sorted(paths | set(map(escape_glob, paths)))


def _s3(storage: Storage) -> "S3Storage":
    from pipeline.storage.s3 import S3Storage

    if not isinstance(storage, S3Storage):
        raise TypeError(f"no views over {type(storage).__name__}")
    return storage


def _make_views(connection: "duckdb.DuckDBPyConnection", storage: Storage, commented: bool) -> None:
    """DuckDB's own httpfs is a download, so files that are not local come through fsspec."""
    from pipeline.storage.memory_files import MemoryFiles

    views = script(_root(storage), commented=commented)
    if isinstance(storage, MemoryStorage):
        connection.register_filesystem(MemoryFiles(storage.objects))
        check(decode(storage.objects.get(lake.VERSION)), storage.uri)
    if isinstance(storage, LocalStorage):
        stated = storage.path(lake.VERSION)
        check(decode(stated.read_bytes() if stated.exists() else None), storage.uri)
    if isinstance(storage, LocalStorage | MemoryStorage):
        connection.execute(views)
        return
    from pipeline.storage.s3_files import open_files

    location = _s3(storage).location
    files = open_files(location)
    if not files.exists(f"{location.url}/{lake.empty('jobs')}"):
        raise FileNotFoundError("it has not been made yet")
    stated_at = f"{location.url}/{lake.VERSION}"
    check(decode(files.cat_file(stated_at) if files.exists(stated_at) else None), storage.uri)
    # Making a view reads its files, some hundred requests in all; an empty lake in memory stands in.
    connection.register_filesystem(MemoryFiles(_empty_lake(), location.url))
    connection.execute(views)
    connection.unregister_filesystem("s3")
    connection.register_filesystem(files)


def _empty_lake() -> dict[str, bytes]:
    made = {key: _empty_file(schema) for key, schema in _schemas()}
    return made | {lake.empty_commit(): msgspec.json.encode(_NO_COMMIT)}


def _schemas() -> list[tuple[str, pa.Schema]]:
    final = [(lake.empty(table), schema) for table, schema in TABLES.items()]
    return final + [(lake.empty_live(table), TABLES[table]) for table in BATCH_TABLES]


def _empty_file(schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer, compression="zstd")
    return buffer.getvalue()


def _database(storage: Storage) -> bytes:
    """Built aside and handed over as bytes: a lake's database is created once, whole, and never reopened."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {quote(str(path))} AS tierwise (STORAGE_VERSION '{_STORED_AS}')")
            connection.execute("USE tierwise")
            connection.execute(view_script(storage))
            connection.execute("USE memory")
            connection.execute("DETACH tierwise")
        return path.read_bytes()


def _refuse_open_database(storage: LocalStorage) -> None:
    if storage.path(f"{DATABASE}.wal").exists():
        raise LakeUnreachable(
            url=storage.uri,
            why=f"someone has {DATABASE} open for writing, or died with it open",
            fix=f"Close it (or open and close it once: duckdb {DATABASE}), then run again.",
        )
