"""`tierwise query`: SQL over the lake's tables."""

import csv
import sys
from itertools import count
from typing import Annotated, Any, Literal

import typer

from jobs.options import Lake, print_json, settings_of
from pipeline.storage import open_storage
from pipeline.storage.views import ask, connect
from schemas.errors import QueryRefused


def command(
    sql: Annotated[str, typer.Argument(metavar="SQL")],
    lake: Lake = None,
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How rows are printed.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Run one SELECT over the views: results, calls, decisions, votes, documents, jobs … and results_live …"""
    import duckdb

    storage = open_storage(settings_of(lake).lake_uri())
    with connect(storage) as connection:
        check_statement(connection, sql)
        try:
            rows = ask(connection, sql)
        except duckdb.Error as error:
            raise QueryRefused(why=str(error).splitlines()[0], fix="Correct the SQL.") from None
        names = [column[0] for column in rows.description or []]
        _print(names, rows.fetchall(), "json" if as_json else form)


def check_statement(connection: Any, sql: str) -> None:
    """One statement, and one that only reads."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(why=str(error).splitlines()[0], fix="Correct the SQL.") from None
    if len(statements) != 1:
        raise QueryRefused(why=f"{len(statements)} statements")
    if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise QueryRefused(why=f"it is of type {statements[0].type.name}")
    if statements[0].type == duckdb.StatementType.EXPLAIN and "analyze" in sql.lower():
        raise QueryRefused(why="EXPLAIN ANALYZE runs what it explains")


def _print(names: list[str], rows: list[tuple[Any, ...]], form: str) -> None:
    if form == "json":
        keys = _distinct(names)
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    else:
        _print_table(names, [["" if cell is None else str(cell) for cell in row] for row in rows])


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
