"""`tierwise submit`: validate, ingest, publish; workers do the rest."""

from decimal import Decimal
from pathlib import Path

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
from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from schemas.errors import Problem, SpecError
from schemas.ids import JobId
from schemas.job import JobSpec


def command(
    spec: Spec,
    budget: Budget = None,
    limit: Limit = None,
    job: NewJob = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Put a job on the broker for `tierwise worker` processes. A bad spec is refused before anything is spent."""
    settings = settings_of(lake, ledger)
    said = run_async(_submit(settings, spec, budget, limit, JobId(job) if job else None, lake))
    if as_json:
        print_json(said)
        return
    typer.echo(f"Submitted {said['job']}: {said['queries']} queries in {said['batches']} batches.")
    if said["rejected"]:
        typer.echo(f"{said['rejected']} rows cannot be asked; they end as rejected results with a reason.")
    typer.echo(f"Next: tierwise status {said['job']} --watch")


async def _submit(
    settings: Settings,
    path: Path,
    budget: Decimal | None,
    limit: int | None,
    job: JobId | None,
    lake: str | None,
) -> dict[str, object]:
    from workers.app import make_app, probe_broker
    from workers.dispatch import Dispatch

    app = make_app(settings)
    prepared = await read_spec(path, budget)
    check_lake(prepared.spec, settings, lake, str(path))
    probe_broker(app, settings.broker)
    async with services_of(settings) as services:
        with services.tracer.span("submit") as span:
            pinned = await create_job(services, prepared, job, limit)
            say_aside(pinned)
            Dispatch(app, services.tracer).job(pinned)
            span.set(job=pinned.job, batches=pinned.batches, queries=pinned.queries)
    return {
        "job": pinned.job, "queries": pinned.queries, "rejected": pinned.rejected, "batches": pinned.batches
    }  # fmt: skip


def check_lake(spec: JobSpec, settings: Settings, lake: str | None, source: str) -> None:
    """Raises SpecError where a job would land in another lake than that of the workers."""
    wanted = spec.output.lake
    if wanted and lake is None and wanted != settings.lake:
        fix = f"Set TIERWISE_LAKE={wanted} here and for the workers, or remove output.lake."
        problem = Problem("output.lake", f"the workers' lake is {settings.lake!r}", fix)
        raise SpecError(source, [problem])
