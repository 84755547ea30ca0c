"""`tierwise report`: what a closed job came to, on the terminal or as a page."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.options import JobName, Json, Lake, job_of, print_json, settings_of
from jobs.summary import print_summary
from pipeline.report.page import page
from pipeline.report.summary import summarise
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.ids import JobId


def command(
    job: JobName,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write an HTML page.")] = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Report a closed job from its final tables."""
    settings = settings_of(lake)
    job = job_of(settings, job)
    with connect(open_storage(settings.lake_uri())) as connection:
        summary = summarise(connection, JobId(job))
    if output is not None:
        _write(output, page(summary))
    if as_json:
        print_json(summary.as_dict())
    elif output is not None:
        typer.echo(f"Wrote {output}")
    else:
        print_summary(summary, settings.lake_uri(), f" --lake {lake}" if lake else "")


def _write(output: Path, html: str) -> None:
    try:
        output.write_text(html, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None
