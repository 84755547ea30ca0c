"""`tierwise run`: submit, work and report in this process; nothing to install or start."""

import typer

from jobs.options import (
    Budget,
    Json,
    Lake,
    Ledger,
    Limit,
    NewJob,
    Spec,
    print_json,
    run_async,
    say_aside,
    services_of,
    settings_of,
)
from jobs.progress import board
from jobs.summary import print_summary, read_summary
from pipeline.report.summary import Summary, exit_code
from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.work import close_work, open_work
from pipeline.work import Services
from schemas.ids import JobId
from workers.inline import work_inline
from workers.process import tune
from workers.tidy import tidy


def command(
    spec: Spec,
    budget: Budget = None,
    limit: Limit = None,
    job: NewJob = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Run a job from its spec to its report. A second Ctrl-C or a kill loses nothing: `tierwise resume JOB`."""
    settings = settings_of(lake, ledger)
    prepared = run_async(read_spec(spec, budget))
    lake = lake or prepared.spec.output.lake
    if lake is not None:
        settings = settings.model_copy(update={"lake": lake})

    async def submit_and_work() -> Summary:
        async with services_of(settings) as services:
            pinned = await create_job(services, prepared, JobId(job) if job else None, limit)
            say_aside(pinned)
            return await work_to_the_end(services, settings, pinned.job, pinned.queries, quiet=as_json)

    summary = run_async(submit_and_work())
    code = exit_code(summary, prepared.spec.budget.allow)
    if as_json:
        print_json({**summary.as_dict(), "lake": settings.lake_uri(), "exit_code": code})
    else:
        print_summary(summary, settings.lake_uri(), f" --lake {lake}" if lake else "")
    if code:
        raise typer.Exit(code)


async def work_to_the_end(
    services: Services, settings: Settings, job: JobId, queries: int, *, quiet: bool
) -> Summary:
    """Work a job in this process until it is closed, with progress on standard error."""
    work = await open_work(services, job)
    tune()
    try:
        async with board(services, work.manifest.account, job, queries, quiet=quiet) as shown:
            await work_inline(work, in_flight=settings.batches_in_flight, progress=shown.count)
    finally:
        await close_work(work)
    await tidy(services)
    return read_summary(services, job)
