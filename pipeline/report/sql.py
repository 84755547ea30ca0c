"""The named queries beside this file, run on a connection that has the lake's views."""

from importlib.resources import files
from typing import Any

from duckdb import DuckDBPyConnection

from pipeline.storage.views import ask

Row = dict[str, Any]


def rows(connection: DuckDBPyConnection, name: str, **values: object) -> list[Row]:
    """All rows of the query `sql/NAME.sql` as dicts."""
    text = (files("pipeline.report") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    answer = ask(connection, text, values)
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def first(connection: DuckDBPyConnection, name: str, **values: object) -> Row | None:
    return next(iter(rows(connection, name, **values)), None)
