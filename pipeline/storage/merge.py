"""The merge itself: DuckDB over local files, streaming and spilling."""

import os
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

MEMORY = "512MB"  # for one merge; what does not fit is spilled beside it
THREADS = 4  # each needs its share of that
ROW_GROUP = 122_880  # rows, as DuckDB reads best
ROW_GROUP_BYTES = 32 * 2**20  # before compression: fewer rows where documents or answers are long
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
    pa.list_(pa.float64()): "DOUBLE[]",
}


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One table of one job on local files."""

    table: str
    generation: Generation
    folder: Path  # scratch
    old: Path | None
    new: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)


def connect(folder: Path, memory: str = MEMORY) -> "duckdb.DuckDBPyConnection":
    """A DuckDB of its own that spills into a scratch folder. Costs as much as merging ten thousand rows."""
    import duckdb

    settings: Settings = {
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "threads": min(THREADS, os.cpu_count() or 1),
    }
    connection = duckdb.connect(config=settings)
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def explained(lake: str) -> Iterator[None]:
    """Raises LakeUnreachable when there is no room to merge in."""
    try:
        yield
    except Exception as error:
        import duckdb

        if not isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException)):
            raise
        why = f"merging its tables failed: {str(error).splitlines()[0]}"
        raise LakeUnreachable(url=lake, why=why, fix="Make room, then run again: nothing is lost.") from error


def merge_files(connection: "duckdb.DuckDBPyConnection", merge: Merge) -> tuple[Path, int]:
    """The finished file and its rows. Raises LeaseLost, and DuckDB's own errors when there is no room for it."""
    statements = named(read_sql("final.sql"))
    schema = TABLES[merge.table]
    seen = [view(connection, "new", merge.new, schema, merge.folder)]
    if merge.old:
        seen.append(view(connection, "old", [merge.old], schema, merge.folder))
        view(connection, "replaced", merge.replaced, TABLES["results"], merge.folder)
        newest = connection.execute(statements["newest"]).fetchone()
        if newest and newest[0] is not None and newest[0] > merge.generation:
            raise LeaseLost(name=f"closing generation {merge.generation}: {newest[0]} is published")
    target = merge.folder / "final.parquet"
    copied = connection.execute(
        statements[_how(merge, schema)].format(
            columns=_columns(merge, schema),
            generation=int(merge.generation),
            target=quote(str(target)),
            row_group=row_group(merge.generation, *seen),
        )
    ).fetchone()
    return target, int(copied[0]) if copied else 0


def _how(merge: Merge, schema: pa.Schema) -> str:
    if merge.old is None:
        return "first"
    return "merge" if "asked_in" in schema.names else "merge_by_query"


def row_group(generation: Generation, *seen: "Seen") -> int:
    """Rows. DuckDB opens a file twice, for its footer and for its rows, and may find it replaced in between. Row
    groups that differ between generations make that an error; equal ones could pass for a shorter table."""
    rows, size = sum(each.rows for each in seen), sum(each.size for each in seen)
    most = min(ROW_GROUP, max(2048, ROW_GROUP_BYTES * rows // size)) if size else ROW_GROUP
    return most - generation % 8 * (most // 60)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the footers of a view's files say."""

    rows: int
    size: int  # bytes before compression
    whole: bool  # every file has every column


def view(
    connection: "duckdb.DuckDBPyConnection", name: str, files: list[Path], schema: pa.Schema, folder: Path
) -> Seen:
    """The rows of all files; columns that an older one lacks read as null."""
    empty = folder / f"{name}.empty.parquet"
    pq.write_table(schema.empty_table(), empty)  # first: its columns are the view's
    listed = ", ".join(quote(escape_glob(str(file))) for file in [empty, *files])
    seen = _look(files, schema)
    by_name = not seen.whole  # it keeps all footers in memory, and reads half as fast
    connection.execute(
        f"CREATE OR REPLACE VIEW {name} AS "
        f"FROM read_parquet([{listed}], union_by_name = {by_name}, hive_partitioning = false)"
    )
    return seen


def _look(files: list[Path], schema: pa.Schema) -> Seen:
    rows, size, whole = 0, 0, True
    for file in files:
        footer = pq.read_metadata(file)
        rows += footer.num_rows
        size += sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
        whole = whole and set(schema.names) <= set(footer.schema.to_arrow_schema().names)
    return Seen(rows=rows, size=size, whole=whole)


def _columns(merge: Merge, schema: pa.Schema) -> str:
    """Parquet then has the declared types: DuckDB alone would widen milliseconds to microseconds."""
    stamped = ("generation",) if merge.old else ("generation", "asked_in")
    return ", ".join(
        f"CAST({merge.generation if column.name in stamped else _name(column.name)}"
        f" AS {_SQL_TYPES[column.type]}) AS {_name(column.name)}"
        for column in schema
    )


def _name(column: str) -> str:
    return f'"{column}"'
