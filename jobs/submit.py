"""`tierwise submit`: validate, ingest, publish; workers do the rest."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from jobs.options import Json, Lake, Ledger, print_json, run_async, services_of, settings_of, usd
from pipeline.settings import Settings
from pipeline.submit import create_job, read_spec
from schemas.errors import Problem, SpecError
from schemas.ids import BatchIndex, Generation, JobId


def command(
    spec: Annotated[Path, typer.Argument(metavar="JOB.yaml")],
    budget: Annotated[Decimal | None, typer.Option(help="Overrides budget.usd.", parser=usd)] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N rows.", min=1)] = None,
    job: Annotated[str | None, typer.Option(help="The job's id; default: name and time.")] = None,
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
    wanted = prepared.spec.output.lake
    if wanted and lake is None and wanted != settings.lake:
        fix = f"Set TIERWISE_LAKE={wanted} here and for the workers, or remove output.lake."
        problem = Problem("output.lake", f"the workers' lake is {settings.lake!r}", fix)
        raise SpecError(str(path), [problem])
    probe_broker(app, settings.broker)
    async with services_of(settings) as services:
        pinned = await create_job(services, prepared, job, limit)
    Dispatch(app).batches(pinned.job, Generation(1), map(BatchIndex, range(pinned.batches)))
    return {
        "job": pinned.job, "queries": pinned.queries, "rejected": pinned.rejected, "batches": pinned.batches
    }  # fmt: skip
