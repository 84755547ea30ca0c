"""`tierwise query`: SQL over the lake's tables, one's own or a ready question by name."""

import csv
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from jobs.complete import job_ids
from jobs.options import Lake, job_of, json_text, print_json, settings_of
from pipeline.report.sql import parameters, questions, text_of
from pipeline.storage import open_storage
from pipeline.storage.views import ask, connect
from schemas.errors import QueryRefused

# Without quotes and comments in between, what follows is what DuckDB's parser takes for the explained, too.
# ANALYZE is no option here: it would run it.
_EXPLAIN = re.compile(r"^\s*EXPLAIN\b(?:\s*\(\s*FORMAT\s+\w+\s*\))?", re.IGNORECASE)
_NODE = re.compile(r'"type":"(\w+_NODE)"')
_READS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}


def _names(incomplete: str) -> list[tuple[str, str]]:
    """The ready questions that begin so, with what each answers."""
    return [(name, said) for name, said in questions().items() if name.startswith(incomplete)]


def command(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL|NAME", show_default=False, autocompletion=_names)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="The ready questions.")] = False,
    job: Annotated[
        str | None, typer.Option("--job", help="Of a ready question.", autocompletion=job_ids)
    ] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Of a ready question.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="Of a ready question.", min=1)] = 20,
    lake: Lake = None,
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How rows are printed.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a file: .parquet, .csv or .json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Run one SELECT over the views: results, calls, decisions, votes, documents, jobs … and results_live …;
    or a ready question by its name (--list)."""
    import duckdb

    form = "json" if as_json else form
    ready = questions()
    if listed:
        _print(["name", "answers"], list(ready.items()), form)
        return
    if sql is None:
        raise typer.BadParameter("give a SELECT, or a name of `tierwise query --list`")
    settings = settings_of(lake)
    if sql.isidentifier() and sql not in ready:
        near = [f"Did you mean {each}?" for each in get_close_matches(sql, ready, n=1)]
        fix = " ".join([*near, "`tierwise query --list` lists them."])
        raise QueryRefused(why=f"there is no ready question {sql!r}", fix=fix)
    job = job_of(settings, job) if job else None
    storage = open_storage(settings.lake_uri())
    with connect(storage, commented=True) as connection:
        values: Mapping[str, object] = {}
        if sql in ready:
            sql, values = _ready(sql, job=job, schedule=schedule, limit=limit)
        else:
            check_statement(connection, sql)
        try:
            names, rows = _answer(connection, sql, values, output)
        except duckdb.Error as error:
            raise QueryRefused(why=str(error).splitlines()[0], fix="Correct the SQL.") from None
    if output is None:
        _print(names, rows, form)
    else:
        typer.echo(f"Wrote {output}", err=True)


def _ready(name: str, **given: str | int | None) -> tuple[str, dict[str, object]]:
    sql = text_of(name)
    wanted = parameters(sql)
    for each in ("job", "schedule"):
        if each in wanted and given[each] is None:
            raise typer.BadParameter(f"{name} asks about one {each}: --{each} {each.upper()}")
    return sql, {each: given[each] for each in wanted}


def _answer(
    connection: Any, sql: str, values: Mapping[str, object], output: Path | None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows, or none where they go into a file. In a thread of its own: without its progress bar, DuckDB
    looks for no signal while it works, so Ctrl-C has to be handed to it."""

    def run() -> tuple[list[str], list[tuple[Any, ...]]]:
        if output is not None:
            _write_file(output, connection.cursor().sql(sql, params=values).to_arrow_reader())
            return [], []
        found = ask(connection, sql, values)
        return [column[0] for column in found.description or []], found.fetchall()

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(run)
        try:
            return answer.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def _write_file(output: Path, reader: pa.RecordBatchReader) -> None:
    """By its name's ending."""
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".json": _write_json}
    if output.suffix not in writers:
        raise typer.BadParameter(f"{output} cannot be written: name it .parquet, .csv or .json")
    try:
        writers[output.suffix](output, reader)
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None


def _write_parquet(output: Path, reader: pa.RecordBatchReader) -> None:
    """Batch by batch: what is asked for need not fit into memory."""
    with pq.ParquetWriter(output, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def _write_csv(output: Path, reader: pa.RecordBatchReader) -> None:
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(reader.schema.names)
        for batch in reader:
            writer.writerows(
                map(_csv_row, zip(*(column.to_pylist() for column in batch.columns), strict=True))
            )


def _write_json(output: Path, reader: pa.RecordBatchReader) -> None:
    """One array, as on standard output."""
    keys, comma = _distinct(reader.schema.names), ""
    with output.open("w", encoding="utf-8") as file:
        file.write("[")
        for batch in reader:
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                file.write(comma + json_text(dict(zip(keys, row, strict=True))))
                comma = ", "
        file.write("]\n")


def _csv_row(row: tuple[Any, ...]) -> list[Any]:
    """A list or an object as JSON."""
    return [json_text(cell) if isinstance(cell, list | dict) else cell for cell in row]


def check_statement(connection: Any, sql: str) -> None:
    """One statement, and one that only reads: the type alone would let through a SELECT WITH (COPY … TO …)."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if len(statements) == 1 and statements[0].type == duckdb.StatementType.EXPLAIN:
            sql = _EXPLAIN.sub("", statements[0].query, count=1)
            statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryRefused(why=f"{len(statements)} statements")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise QueryRefused(why=f"it is of type {statements[0].type.name}")
        tree = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()[0]
    except duckdb.Error as error:
        raise QueryRefused(why=str(error).splitlines()[0], fix="Correct the SQL.") from None
    kinds = set(_NODE.findall(tree))
    if not kinds or kinds - _READS:
        raise QueryRefused(why="it holds a statement that is no SELECT")


def _print(names: list[str], rows: list[tuple[Any, ...]], form: str) -> None:
    if form == "json":
        keys = _distinct(names)
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(map(_csv_row, rows))
    else:
        _print_table(names, [[_text(cell) for cell in row] for row in rows])


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)  # never 0E-9


def _distinct(names: list[str]) -> list[str]:
    """`a, a` as `a, a_1`: an object holds a key once."""
    keys: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in count(1))
        keys.append(name if name not in keys else next(key for key in numbered if key not in (*names, *keys)))
    return keys


def _print_table(names: list[str], rows: list[list[str]]) -> None:
    """A table, or where it is wider than the terminal a block of lines for each row."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(*map(escape, names))
    for row in rows:
        table.add_row(*map(escape, row))
    if _least_width(names, rows) <= console.width:
        console.print(table)
        return
    for row in rows:
        lines = [f"{name}: {cell}" for name, cell in zip(names, row, strict=True)]
        console.print("\n".join([*lines, ""]), highlight=False, markup=False, soft_wrap=True)


def _least_width(names: list[str], rows: list[list[str]]) -> int:
    """Columns a table needs where no word is to be broken; a long one may be, from 20 on."""
    longest = [
        max((len(word) for cell in (name, *column) for word in cell.split()), default=0)
        for name, column in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)
    ]
    return sum(min(width, 20) + 3 for width in longest) + 1
