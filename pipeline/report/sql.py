"""The named queries beside this file, run on a connection that has the lake's views."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from duckdb import DuckDBPyConnection

from pipeline.storage.views import ask

Row = dict[str, Any]
OPTIONS = {"job", "schedule", "limit"}  # of `tierwise query`


def rows(connection: DuckDBPyConnection, name: str, **values: object) -> list[Row]:
    """All rows of the query `sql/NAME.sql` as dicts."""
    return rows_of(connection, text_of(name), values)


def rows_of(connection: DuckDBPyConnection, sql: str, values: Mapping[str, object]) -> list[Row]:
    answer = ask(connection, sql, values)
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def text_of(name: str) -> str:
    return (files("pipeline.report") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def questions() -> dict[str, str]:
    """The queries that need a job or a schedule at most (and a limit), by name: what each answers, as its first
    comment says."""
    names = sorted(each.name.removesuffix(".sql") for each in (files("pipeline.report") / "sql").iterdir())
    return {name: _comment(text_of(name)) for name in names if parameters(text_of(name)) <= OPTIONS}


def parameters(sql: str) -> set[str]:
    return set(re.findall(r"\$(\w+)", sql))


def _comment(sql: str) -> str:
    lines = [line.removeprefix("--").strip() for line in sql.splitlines() if line.startswith("--")]
    return " ".join(lines)


def first(connection: DuckDBPyConnection, name: str, **values: object) -> Row | None:
    return next(iter(rows(connection, name, **values)), None)
