"""`tierwise certify`: what people's labels make of a job's certificate."""

from typing import Annotated, Any

import typer

from jobs.options import JobName, Json, Lake, job_of, print_json, run_async, settings_of
from pipeline.audit.human import certify_by_people
from pipeline.report.certificate import details, headline
from pipeline.report.sql import first
from pipeline.report.summary import certified_code
from pipeline.settings import Settings
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from pipeline.wiring.services import now_ms
from schemas.ids import JobId


def command(
    job: JobName,
    now: Annotated[
        bool,
        typer.Option("--now", help="Wait for no more labels: drawn rows without one count as disagreeing."),
    ] = False,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Test a closed job with `reference: human` on the labels there are: all drawn rows need one. `tierwise review`
    does it whenever labels came in. Exit code 7: it is not certified."""
    settings = settings_of(lake)
    row = run_async(certify_job(settings, job_of(settings, job), now=now))
    if as_json:
        print_json(row)
    else:
        for line in (headline(row), *details(row)):
            typer.echo(line)
    if code := certified_code(row):
        raise typer.Exit(code)


async def certify_job(settings: Settings, job: JobId, *, now: bool) -> dict[str, Any]:
    """The row of `certificates` as reports show it. Raises UnknownJob, NotByPeople, JobNotClosed."""
    storage = open_storage(settings.lake_uri())
    try:
        await certify_by_people(storage, job, now_ms(), unlabelled_disagree=now)
        with connect(storage) as connection:
            row = first(connection, "certificate", job=job)
    finally:
        await storage.close()
    assert row is not None  # just written
    return row
