"""`tierwise status`: where jobs stand: queries, dollars, tiers, time to finish; once, or as long as they run."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.live import Live

from jobs.options import Json, Lake, Ledger, job_of, print_json, run_async, services_of, settings_of
from jobs.screen import job_screen, jobs_screen, key_of, line_of, trouble
from jobs.summary import allowance_of, print_summary, read_summary
from pipeline.monitoring.watch import JobsWatch, JobView, JobWatch, amounts_of
from pipeline.report.summary import exit_code
from pipeline.settings import Settings
from pipeline.webhook import webhook_of
from schemas import lake as layout
from schemas import manifest
from schemas.ids import JobId
from schemas.money import format_usd, nano_to_usd

Draw = Callable[[int, int], RenderableType]  # on so many columns and lines
Show = Callable[[Sequence[JobView], Draw], None]
LOOK_S = 1.0  # from one look to the next, at least
SHARE = 20  # and so many times what a look takes of a processor


def command(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Default: all jobs, a line each.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until the job is closed; with --json, an object a line.")
    ] = False,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show a job's progress and money, or list the jobs. --watch draws them on the whole screen, or prints a line for
    each change where there is none; it ends with the job and its exit code. Ctrl-C leaves the job running."""
    settings = settings_of(lake, ledger)
    job = None if job is None else job_of(settings, job)
    if not watch:
        run_async(_list(settings, as_json) if job is None else _show(settings, JobId(job), as_json))
        return
    try:
        code = run_async(
            _watch_all(settings, as_json) if job is None else _watch(settings, JobId(job), as_json)
        )
    except KeyboardInterrupt:
        which = f"{job} goes" if job else "Jobs go"
        back = f"tierwise status {f'{job} ' if job else ''}--watch{f' --lake {lake}' if lake else ''}"
        typer.echo(f"{which} on; come back with: {back}", err=as_json)
        return
    if code:
        raise typer.Exit(code)


async def _list(settings: Settings, as_json: bool) -> None:
    async with services_of(settings) as services:
        found = await services.ledger.jobs()
    if as_json:
        print_json([msgspec.structs.asdict(row) for row in found])
        return
    for row in found:
        stop = f" ({row.stop})" if row.stop else ""
        typer.echo(
            f"{row.job}  {row.state}{stop}  generation {row.generation}  batches {row.committed}/{row.batches}"
        )


async def _show(settings: Settings, job: JobId, as_json: bool) -> None:
    async with services_of(settings) as services:
        view = await JobWatch(services, job).look()
        webhook = await webhook_of(services, job)
    if as_json:
        print_json({**as_dict(view), "webhook": webhook})
        return
    stop = f" ({view.stop})" if view.stop else ""
    typer.echo(f"{job}: {view.state}{stop}, generation {view.generation}")
    typer.echo(
        f"queries {view.done:,} of {view.queries:,}; batches {view.committed} of {view.batches}, "
        f"{view.under_way} under way in {len(view.workers)} workers"
    )
    for account in view.accounts:
        of = "" if account is view.accounts[0] else f"{account.account}: "
        typer.echo(
            of + " · ".join(f"{name} {format_usd(amount)}" for name, amount in amounts_of(account).items())
        )
    counts = {tier.tier: tier.answered for tier in view.tiers if tier.answered} | view.statuses
    typer.echo(" · ".join(f"{name} {count:,}" for name, count in counts.items()))
    if view.audit:
        typer.echo(f"audit: {view.audit.said}")
    if webhook:
        why = f": {webhook['note']}" if webhook["note"] else ""
        typer.echo(f"webhook: {webhook['state'].replace('_', ' ')}{why}")
    for tier in view.tiers:
        limited = [f"{tier.limited:,} × 429"] if tier.limited else []
        if said := [*trouble(tier), *limited]:
            typer.echo(f"tier {tier.tier}: {', '.join(said)}")


def as_dict(view: JobView) -> dict[str, Any]:
    """For machines; dollars of the job's own account beside those of all."""
    amounts = amounts_of(view.accounts[0])
    return {
        **msgspec.to_builtins(view),
        "done": view.done,
        "tiers": {tier.tier: tier.answered for tier in view.tiers if tier.answered},
        "ladder": [{**msgspec.structs.asdict(tier), "passed_on": tier.passed_on} for tier in view.tiers],
        "seconds_left": view.seconds_left,
        **{f"{name}_usd": nano_to_usd(amount) for name, amount in amounts.items()},
        **{f"{name}_nano": amount for name, amount in amounts.items()},
    }


async def _looks() -> AsyncIterator[None]:
    """The moments to look at: about each second, and never more than a twentieth of a processor."""
    while True:
        began = time.process_time()
        yield
        await asyncio.sleep(max(LOOK_S, SHARE * (time.process_time() - began)))


async def _watch(settings: Settings, job: JobId, as_json: bool) -> int:
    """The job's exit code, once it is closed."""
    async with services_of(settings) as services:
        watch = JobWatch(services, job)
        with _shown(as_json) as show:
            async for _ in _looks():
                view = await watch.look()
                show([view], partial(job_screen, view))
                if view.state == "closed":
                    break
        summary = read_summary(services, job)
        pinned = manifest.decode(await services.storage.read(layout.manifest(job)))
        code = exit_code(summary, allowance_of(pinned))
        if not as_json:
            print_summary(summary, settings.lake_uri())
    return code


async def _watch_all(settings: Settings, as_json: bool) -> int:
    """On a screen until it is left, else until no job is open."""
    async with services_of(settings) as services:
        watch = JobsWatch(services)
        with _shown(as_json) as show:
            async for _ in _looks():
                lines = await watch.look()
                views = [line.view for line in lines if line.view]
                show(views, partial(jobs_screen, lines))
                if not views and not _has_screen(as_json):
                    break
    return 0


def _has_screen(as_json: bool) -> bool:
    return not as_json and sys.stdout.isatty() and not Console().is_dumb_terminal


@contextmanager
def _shown(as_json: bool) -> Iterator[Show]:
    """How to show views: on the whole screen, or each that changed in a line."""
    if _has_screen(as_json):
        console = Console(highlight=False)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            yield lambda views, draw: live.update(draw(console.width, console.height), refresh=True)
        return
    last: dict[JobId, object] = {}

    def show(views: Sequence[JobView], draw: Draw) -> None:
        for view in views:
            if last.get(view.job) != key_of(view):
                last[view.job] = key_of(view)
                print_json(as_dict(view)) if as_json else typer.echo(line_of(view))
                sys.stdout.flush()

    yield show
