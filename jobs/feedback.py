"""`tierwise feedback`: right answers given after the fact, days later too."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.options import JobName, Json, Lake, Ledger, job_of, print_json, run_async, services_of, settings_of
from pipeline.feedback import give_feedback
from pipeline.learning.rewards import final_tables, grade
from pipeline.settings import Settings
from pipeline.sources import read_rows
from pipeline.wiring.work import open_learner
from pipeline.work import Services
from schemas import lake as layout
from schemas import manifest
from schemas.errors import UnknownJob
from schemas.ids import JobId


def command(
    job: JobName,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", exists=True, dir_okay=False)],
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Keep labels of a job's queries: a CSV, JSONL or Parquet file with the columns query_id and label, and source
    where it is gold rather than human. All are checked first; with one mistake none is kept."""
    settings = settings_of(lake, ledger)
    job = job_of(settings, job)
    said = run_async(_feedback(settings, job, labels))
    if as_json:
        print_json(said)
        return
    known = f", {said['known']} were known already" if said["known"] else ""
    typer.echo(f"{said['stored']} labels of {job} were stored{known}.")
    if said["graded"]:
        typer.echo(f"Next: tierwise learn thompson --job {job} (or another policy that learns)")
    else:
        typer.echo(f"{job} is not closed yet; its answers are graded once it is learned from.")


async def _feedback(settings: Settings, job: JobId, labels: Path) -> dict[str, Any]:
    async with services_of(settings) as services:
        row = await services.ledger.job(job)
        if row is None:
            raise UnknownJob(job=job)
        pinned = manifest.decode(await services.storage.read(layout.manifest(job)))
        rows = list(read_rows(labels, "auto"))
        task, now = pinned.job_spec().task, services.clock()
        news = await give_feedback(services.storage, job, task, rows, now)
        graded = await grade_job(services, job)
    return {"job": job, "stored": len(news), "known": len(rows) - len(news), "graded": graded}


async def grade_job(services: Services, job: JobId) -> bool:
    """What the job's answers are worth by the labels there are now; False while it is not closed."""
    row = await services.ledger.job(job)
    if row is None or row.state != "closed":
        return False
    await grade(await open_learner(services, job, "thompson"), final_tables(job))
    return True
