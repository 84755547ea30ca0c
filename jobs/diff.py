"""`tierwise diff`: two jobs side by side: answers that changed, cost, tiers, spec."""

import json
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.options import Json, Lake, job_of, print_json, settings_of
from pipeline.report.sql import Row, rows
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.errors import JobNotClosed
from schemas.ids import JobId


def command(
    before: Annotated[str, typer.Argument(metavar="JOB")],
    after: Annotated[str, typer.Argument(metavar="JOB")],
    limit: Annotated[int, typer.Option("--limit", help="Changed answers shown.", min=1)] = 20,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Compare two closed jobs. A document is the same where its id and its text are."""
    settings = settings_of(lake)
    before, after = job_of(settings, before), job_of(settings, after)
    with connect(open_storage(settings.lake_uri())) as connection:
        known = {row["job"]: row for row in rows(connection, "diff_totals", before=before, after=after)}
        for job in (before, after):
            if job not in known:
                raise JobNotClosed(job=JobId(job), state="not closed yet, or not in this lake")
        specs = [json.loads(rows(connection, "job", job=job)[0]["spec"]) for job in (before, after)]
        said: dict[str, Any] = {
            "jobs": [known[before], known[after]],
            "queries": rows(connection, "diff_rows", before=before, after=after)[0],
            "tiers": rows(connection, "diff_tiers", before=before, after=after),
            "flips": rows(connection, "diff_flips", before=before, after=after, limit=limit),
            "changed": rows(connection, "diff_changed", before=before, after=after, limit=limit),
            "spec": _differences("", *specs),
        }
    if as_json:
        print_json(said)
    else:
        _print(Console(highlight=False, soft_wrap=True), said)


def _differences(path: str, before: Any, after: Any) -> list[Row]:
    """Where two specs differ: dotted paths with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [
            _differences(f"{path}.{key}" if path else key, before.get(key), after.get(key))
            for key in sorted(before.keys() | after.keys())
        ]
        return [each for differences in found for each in differences]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        found = [_differences(f"{path}[{number}]", *pair) for number, pair in pairs]
        return [each for differences in found for each in differences]
    return [] if before == after else [{"at": path, "before": before, "after": after}]


def _print(console: Console, said: dict[str, Any]) -> None:
    asked = said["queries"]
    console.print(
        f"{asked['both']:,} queries in both, {asked['changed']:,} answers changed "
        f"({asked['now_right']:,} now right, {asked['now_wrong']:,} now wrong by gold); "
        f"{asked['only_before']:,} only in the first, {asked['only_after']:,} only in the second"
    )
    console.print(_table("", _side_by_side(*said["jobs"])))
    for title, name in (
        ("Whose answers stand", "tiers"), ("Labels that became others", "flips"),
        ("Answers that changed", "changed"), ("What differs in the spec", "spec"),
    ):  # fmt: skip
        if said[name]:
            console.print(_table(title, said[name]))


def _side_by_side(before: Row, after: Row) -> list[Row]:
    """A line for each figure; two jobs of one name (a job beside itself) keep both columns."""
    return [{"": name, "before": before[name], "after": after[name]} for name in before]


def _table(title: str, found: list[Row]) -> Table:
    table = Table(*found[0], title=title, title_justify="left")
    for row in found:
        table.add_row(*(escape(_text(cell)) for cell in row.values()))
    return table


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
