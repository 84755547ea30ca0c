"""`tierwise cancel`: no further call; what is answered stays, the rest is marked cancelled."""

import typer

from jobs.options import JobName, Json, Lake, Ledger, job_of, print_json, run_async, services_of, settings_of
from pipeline.settings import Settings
from pipeline.wiring.work import open_work
from schemas.errors import UnknownJob
from schemas.ids import JobId
from workers.inline import work_inline


def command(job: JobName, lake: Lake = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Stop a job. Its open queries end as cancelled, with the best answer so far; `resume` takes them up again."""
    settings = settings_of(lake, ledger)
    job = job_of(settings, job)
    state = run_async(_cancel(settings, job))
    if as_json:
        print_json({"job": job, "state": state})
    else:
        typer.echo(f"{job} is {state}. Next: tierwise report {job}, or tierwise resume {job}")


async def _cancel(settings: Settings, job: JobId) -> str:
    """With a broker the workers end the job; without one, this process does."""
    async with services_of(settings) as services:
        row = await services.ledger.job(job)
        if row is None:
            raise UnknownJob(job=job)
        if row.state == "closed":
            return "closed already"
        await services.ledger.stop_job(job, "cancelled")
        if not settings.broker:
            await work_inline(await open_work(services, job))
        return "cancelled"
