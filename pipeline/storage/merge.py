"""The merge itself: DuckDB over local files, streaming and spilling."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.sql import escape_glob, named, quote, read_sql
from schemas.errors import LakeUnreachable, LeaseLost
from schemas.ids import Generation
from schemas.tables import TABLES

if TYPE_CHECKING:
    import duckdb

MEMORY = "1GB"  # for one merge; what does not fit is spilled beside it
Settings = dict[str, str | bool | int | float | list[str]]

_SQL_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.timestamp("ms"): "TIMESTAMP_MS",
    pa.decimal128(18, 9): "DECIMAL(18, 9)",
    pa.list_(pa.string()): "VARCHAR[]",
}


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One table of one job on local files."""

    lake: str  # its URI, for messages
    table: str
    generation: Generation
    folder: Path  # scratch
    memory: str
    old: Path | None
    new: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)


def merge_files(merge: Merge) -> tuple[Path, int]:
    """The finished file and its rows. Raises LeaseLost, or LakeUnreachable when there is no room for it."""
    with session(merge.lake, merge.folder, merge.memory) as connection:
        return _copy(connection, merge)


@contextmanager
def session(lake: str, folder: Path, memory: str = MEMORY) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection that spills into a scratch folder. Raises LakeUnreachable when there is no room."""
    import duckdb

    settings: Settings = {"memory_limit": memory, "temp_directory": str(folder / "spill")}
    try:
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            connection.execute("SET preserve_insertion_order = false")  # twice as fast, and flat in memory
            yield connection
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        why = f"merging its tables failed: {str(error).splitlines()[0]}"
        raise LakeUnreachable(url=lake, why=why, fix="Make room, then run again: nothing is lost.") from error


def _copy(connection: "duckdb.DuckDBPyConnection", merge: Merge) -> tuple[Path, int]:
    statements = named(read_sql("final.sql"))
    schema = TABLES[merge.table]
    view(connection, "old", [merge.old] if merge.old else [], schema, merge.folder)
    view(connection, "new", merge.new, schema, merge.folder)
    view(connection, "replaced", merge.replaced, TABLES["results"], merge.folder)
    newest = connection.execute(statements["newest"]).fetchone()
    if newest and newest[0] is not None and newest[0] > merge.generation:
        raise LeaseLost(name=f"closing generation {merge.generation}: {newest[0]} is published")
    target = merge.folder / "final.parquet"
    statement = statements["merge" if "asked_in" in schema.names else "merge_by_query"]
    columns = _columns(schema, merge.generation)
    copied = connection.execute(
        statement.format(
            columns=columns,
            generation=int(merge.generation),
            target=quote(str(target)),
            row_group=_row_group(merge.generation),
        )
    ).fetchone()
    return target, int(copied[0]) if copied else 0


def _row_group(generation: Generation) -> int:
    """DuckDB opens a file twice, for its footer and for its rows, and may find it replaced in between. Row
    groups that differ between generations make that an error; equal ones could pass for a shorter table."""
    return 122_880 - 2_048 * (generation % 8)


def view(
    connection: "duckdb.DuckDBPyConnection", name: str, files: list[Path], schema: pa.Schema, folder: Path
) -> None:
    """An empty file of the full schema goes first, so that columns an older part lacks read as null."""
    empty = folder / f"{name}.empty.parquet"
    pq.write_table(schema.empty_table(), empty)
    listed = ", ".join(quote(escape_glob(str(file))) for file in [empty, *files])
    connection.execute(
        f"CREATE VIEW {name} AS "
        f"FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    )


def _columns(schema: pa.Schema, generation: Generation) -> str:
    """Parquet then has the declared types: DuckDB alone would widen milliseconds to microseconds."""
    return ", ".join(
        f"CAST({generation if column.name == 'generation' else _name(column.name)}"
        f" AS {_SQL_TYPES[column.type]}) AS {_name(column.name)}"
        for column in schema
    )


def _name(column: str) -> str:
    return f'"{column}"'
