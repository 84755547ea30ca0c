"""`tierwise schema`: JSON Schema of a job spec, for editors; the lake's data dictionary, for analysts."""

from itertools import groupby
from typing import Annotated, Any

import typer

from jobs.options import Json, print_json, run_async
from schemas.loading import json_schema


def command(
    tables: Annotated[
        bool, typer.Option("--tables", help="The lake's views and columns instead, as Markdown or --json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a job spec, for completion and checks in an editor; or what the lake's tables hold."""
    if not tables:
        print_json(json_schema())
    elif as_json:
        print_json(_dictionary())
    else:
        typer.echo("\n\n".join(map(_markdown, _dictionary())))


def _dictionary() -> list[dict[str, Any]]:
    """Of an empty lake: the same in each."""
    from pipeline.report.sql import rows
    from pipeline.storage import open_storage
    from pipeline.storage.views import connect, prepare_lake

    storage = open_storage("memory://")
    run_async(prepare_lake(storage))
    with connect(storage, commented=True) as connection:
        found = rows(connection, "columns")
    return [
        {
            "view": view,
            "holds": holds,
            "columns": [{name: row[name] for name in ("column", "type", "comment")} for row in columns],
        }
        for (view, holds), columns in groupby(found, key=lambda row: (row["view"], row["holds"]))
    ]


def _markdown(view: dict[str, Any]) -> str:
    lines = [f"## {view['view']}", "", view["holds"], "", "| column | type | |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {row['column']} | {row['type']} | {row['comment']} |" for row in view["columns"])]
    )
