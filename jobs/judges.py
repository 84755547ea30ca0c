"""`tierwise judges`: how true the judges of a closed job are, and what sways them that should not."""

from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from jobs.options import JobName, Json, Lake, job_of, print_json, settings_of
from pipeline.report.judges import JudgeAudit, audit_judges
from pipeline.report.sql import Row
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.ids import JobId


def command(job: JobName, lake: Lake = None, as_json: Json = False) -> None:
    """Audit the judges of a closed job: calibration, and bias by position, length and family."""
    settings = settings_of(lake)
    job = job_of(settings, job)
    with connect(open_storage(settings.lake_uri())) as connection:
        audit = audit_judges(connection, JobId(job))
    if as_json:
        print_json(msgspec.structs.asdict(audit))
        return
    if not audit.labelled:
        typer.echo(f"No answer of {job} has a label; give some with `tierwise feedback {job} LABELS`.")
    _print(audit)


def _print(audit: JudgeAudit) -> None:
    console = Console(highlight=False)
    console.print(_table(f"{audit.job}: {audit.labelled:,} labelled queries", audit.judges))
    if audit.calibration:
        console.print(_table("Calibration: scores by tenths", audit.calibration))
        console.print(_table("Bias: said over right, with half a 95 % interval", audit.bias))


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    names = list(rows[0]) if rows else ["judge"]
    for name in names:
        text = name in ("judge", "bias", "group")
        table.add_column(name.replace("_", " "), justify="left" if text else "right")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before["judge"] != row["judge"]:
            table.add_section()
        table.add_row(*map(_cell, row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
