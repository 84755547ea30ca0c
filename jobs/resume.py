"""`tierwise resume`: go on after a kill, after a cap was reached, or after a cancel."""

from decimal import Decimal
from typing import Annotated

import typer

from jobs.options import (
    JobName,
    Json,
    Lake,
    Ledger,
    job_of,
    print_json,
    run_async,
    services_of,
    settings_of,
    usd,
)
from jobs.run import work_to_the_end
from jobs.summary import allowance_of, print_summary, read_summary
from pipeline.audit.ruling import ready_batches
from pipeline.report.summary import Summary, exit_code
from pipeline.resume import resume
from pipeline.settings import Settings
from schemas import lake as layout
from schemas import manifest
from schemas.ids import Generation, JobId, Nano
from schemas.job import Allowance
from schemas.money import usd_to_nano


def command(
    job: JobName,
    add_budget: Annotated[
        Decimal | None, typer.Option(help="USD added to the job's cap.", parser=usd)
    ] = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Ask what is still open: answers that were paid for are never bought again."""
    settings = settings_of(lake, ledger)
    added = None if add_budget is None else usd_to_nano(add_budget)
    job = job_of(settings, job)
    summary, asked, allowance = run_async(_resume(settings, job, added, as_json))
    if summary is None:
        said = {"job": job, "queries": asked, "state": "published"}
        print_json(said) if as_json else typer.echo(f"{job}: published. Next: tierwise status {job} --watch")
        return
    code = exit_code(summary, allowance)
    if as_json:
        print_json(
            {**summary.as_dict(), "asked_again": asked, "lake": settings.lake_uri(), "exit_code": code}
        )
    else:
        typer.echo(f"{asked} queries were open." if asked else "Nothing was open; the job stays as it is.")
        print_summary(summary, settings.lake_uri(), f" --lake {lake}" if lake else "")
    if code:
        raise typer.Exit(code)


async def _resume(
    settings: Settings, job: JobId, added: Nano | None, quiet: bool
) -> tuple[Summary | None, int, Allowance]:
    async with services_of(settings) as services:
        row, asked = await resume(services, job, added)
        pinned = manifest.decode(await services.storage.read(layout.manifest(job)))
        allowance = allowance_of(pinned)
        if row.state == "closed":
            return read_summary(services, job), 0, allowance
        if settings.broker:
            from workers.app import make_app
            from workers.dispatch import Dispatch

            ready = await services.ledger.open_batches(job, services.clock())
            ready = await ready_batches(services.storage, pinned, row, ready)
            with services.tracer.span("resume", job=job):
                Dispatch(make_app(settings), services.tracer).batches(job, Generation(row.generation), ready)
            return None, asked, allowance
        return await work_to_the_end(services, settings, job, asked, quiet=quiet), asked, allowance
