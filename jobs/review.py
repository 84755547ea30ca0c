"""`tierwise review`: what no tier and no judge settled, and what was drawn to certify a job, for people to settle."""

import asyncio
import getpass
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from duckdb import DuckDBPyConnection
from rich.console import Console
from rich.table import Table

from jobs.certify import certify_job
from jobs.feedback import grade_job
from jobs.options import JobName, Json, Lake, Ledger, job_of, print_json, run_async, services_of, settings_of
from pipeline.audit.human import NotByPeople
from pipeline.labels import Labels
from pipeline.report.certificate import headline
from pipeline.report.sql import Row
from pipeline.review.desk import Desk
from pipeline.review.queue import (
    Item,
    Selected,
    count_queues,
    count_reasons,
    count_reviewers,
    read_items,
    read_queue,
)
from pipeline.review.sheet import name_problem, read_sheet, write_sheet
from pipeline.settings import Settings
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from pipeline.task.parse import parser_of
from pipeline.wiring.services import now_ms
from schemas import lake as layout
from schemas import manifest
from schemas.errors import NoSuchObject, TierwiseError, UnknownJob
from schemas.ids import JobId
from schemas.job import Task

PAGE = 1000  # queries read at a time for a file

Audit = Annotated[
    bool, typer.Option("--audit", help="Only what was drawn for the certificate; it comes first anyway.")
]
app = typer.Typer(
    no_args_is_help=True,
    help="Queries that no tier and no judge settled, or that were drawn for a certificate: list, label, hand back.",
)
Reviewer = Annotated[
    str | None,
    typer.Option("--reviewer", help="Who reviews, as it is kept. Default: the user of this system."),
]


@app.command("list")
def list_(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Default: every job that has any.")] = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """How many queries wait for a person, why, and who reviewed the others."""
    settings = settings_of(lake)
    job = job_of(settings, job) if job else None
    with connect(open_storage(settings.lake_uri())) as connection:
        if job is None:
            rows = count_queues(connection, None)
            print_json(rows) if as_json else _print_rows(rows)
            return
        said = _counts(connection, JobId(job))
    if as_json:
        print_json(said)
        return
    typer.echo(
        f"{job}: {said['review']} ended for review, {said['reviewed']} reviewed, {said['waiting']} wait."
    )
    if said["drawn"]:
        typer.echo(f"Drawn for the certificate: {said['drawn']}, of them {said['labelled']} labelled.")
    _print_rows(said["reasons"])
    _print_rows(said["reviewers"])


@app.command("export")
def export(
    job: JobName,
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.csv or FILE.parquet; must not exist.")],
    every: Annotated[bool, typer.Option("--all", help="Those that are reviewed already, too.")] = False,
    audit: Audit = False,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Write what waits into a file whose column `label` people fill in; cells never begin a formula."""
    settings = settings_of(lake)
    job = job_of(settings, job)
    said = run_async(_export(settings, job, output, every, audit))
    if as_json:
        print_json(said)
        return
    typer.echo(f"{said['queries']} queries of {job} are in {output}. Fill in the column `label`.")
    typer.echo(f"Next: tierwise review import {job} {output}")


@app.command("import")
def import_(
    job: JobName,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    reviewer: Reviewer = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Keep the labels of a filled-in file: CSV, JSONL or Parquet with the columns query_id and label. Rows without a
    label are left for later. All are checked first; with one mistake none is kept."""
    settings, who = settings_of(lake, ledger), _reviewer(reviewer)
    job = job_of(settings, job)
    said = run_async(_import(settings, job, file, who))
    if as_json:
        print_json(said)
        return
    known = f", {said['known']} were known already" if said["known"] else ""
    skipped = f", {said['skipped']} rows have no label yet" if said["skipped"] else ""
    typer.echo(f"{said['stored']} labels of {job} were stored{known}{skipped}.")
    _say_certificate(said)
    _say_next(said)


@app.command("serve")
def serve(
    job: JobName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    audit: Audit = False,
    reviewer: Reviewer = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Review in a page of this machine, by keys alone. Each label is stored at once; Ctrl-C ends it."""
    settings, who = settings_of(lake, ledger), _reviewer(reviewer)
    job = job_of(settings, job)
    said = run_async(_serve(settings, job, port, audit, who, as_json))
    if not as_json:
        typer.echo(f"{said['stored']} labels of {job} by {who} are stored.")
        _say_certificate(said)
        _say_next(said)


def _counts(connection: DuckDBPyConnection, job: JobId) -> dict[str, Any]:
    queue = read_queue(connection, job)
    none = {"review": 0, "reviewed": 0, "waiting": 0, "drawn": 0, "labelled": 0}
    counted = count_queues(connection, job) if queue else [none]
    reasons, reviewers = count_reasons(connection, job), count_reviewers(connection, job)
    return {"job": job, **counted[0], "reasons": reasons, "reviewers": reviewers}


async def _export(settings: Settings, job: JobId, output: Path, every: bool, audit: bool) -> dict[str, Any]:
    async with _opened(settings, job) as (task, labels, connection):
        queue = _queue(connection, job, audit)
        given = ((each.query_id, labels.standing(each.query_id, drawn=each.drawn)) for each in queue)
        standing = {name: label for name, label in given if label is not None and label.label is not None}
        chosen = [each for each in queue if every or each.query_id not in standing]
        count = write_sheet(output, _items(connection, job, task, chosen), standing)
    return {"job": job, "file": str(output), "queries": count}


def _queue(connection: DuckDBPyConnection, job: JobId, audit: bool) -> list[Selected]:
    return [each for each in read_queue(connection, job) if each.drawn or not audit]


def _items(connection: DuckDBPyConnection, job: JobId, task: Task, queries: list[Selected]) -> Iterator[Item]:
    for start in range(0, len(queries), PAGE):
        yield from read_items(connection, job, task, queries[start : start + PAGE])


async def _import(settings: Settings, job: JobId, file: Path, reviewer: str) -> dict[str, Any]:
    async with _opened(settings, job) as (task, labels, connection):
        queue = {each.query_id: each for each in read_queue(connection, job)}
        given, skipped = read_sheet(file, queue, parser_of(task), reviewer)
        news = await labels.keep(given, now_ms())
    counts = {"stored": len(news), "known": len(given) - len(news), "skipped": skipped}
    return {"job": job, **counts, **await _certified(settings, job), **await _grade(settings, job, len(news))}


async def _serve(
    settings: Settings, job: JobId, port: int, audit: bool, reviewer: str, as_json: bool
) -> dict[str, Any]:
    from pipeline.review.server import serving

    async with _opened(settings, job) as (task, labels, connection):
        desk = Desk(connection, labels, job, task, _queue(connection, job, audit), reviewer, now_ms)
        async with serving(desk, port) as url:
            stopped = _when_stopped()
            _say_address(url, job, (await desk.show()).counts.waiting, as_json)
            await stopped.wait()
        await labels.fold()
    ended = {"job": job, "stored": desk.stored, **await _certified(settings, job)}
    return ended | await _grade(settings, job, desk.stored)


def _when_stopped() -> asyncio.Event:
    """Ctrl-C or SIGTERM ends the page, not the command: what was said is graded first. A second one ends that."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    names = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        stopped.set()
        for name in names:
            loop.remove_signal_handler(name)

    for name in names:
        loop.add_signal_handler(name, stop)
    return stopped


@asynccontextmanager
async def _opened(settings: Settings, job: JobId) -> AsyncIterator[tuple[Task, Labels, DuckDBPyConnection]]:
    """Raises UnknownJob."""
    storage = open_storage(settings.lake_uri())
    try:
        pinned = manifest.decode(await storage.read(layout.manifest(job)))
        labels = Labels(storage, job)
        await labels.refresh()
        with connect(storage) as connection:
            yield pinned.job_spec().task, labels, connection
    except NoSuchObject:
        raise UnknownJob(job=job) from None
    finally:
        await storage.close()


async def _certified(settings: Settings, job: JobId) -> dict[str, Any]:
    """What the labels make of the certificate that waits for them, where one does; `tierwise certify` makes up for a
    kill before."""
    try:
        return {"certificate": await certify_job(settings, job, now=False)}
    except NotByPeople:
        return {}


def _say_certificate(said: dict[str, Any]) -> None:
    if "certificate" in said:
        typer.echo(headline(said["certificate"]))


async def _grade(settings: Settings, job: JobId, stored: int) -> dict[str, Any]:
    """The labels are kept whatever becomes of this; `tierwise learn` makes up for it."""
    if not stored:
        return {"graded": False, "why": "nothing is new"}
    try:
        async with services_of(settings) as services:
            return {"graded": await grade_job(services, job), "why": ""}
    except TierwiseError as error:
        return {"graded": False, "why": str(error)}


def _reviewer(given: str | None) -> str:
    if given is None:
        try:
            given = getpass.getuser()
        except (OSError, KeyError):
            raise typer.BadParameter("nobody knows who you are; give --reviewer NAME") from None
    if problem := name_problem(given):
        raise typer.BadParameter(f"the reviewer's name {problem}")
    return given.strip()


def _say_address(url: str, job: JobId, waiting: int, as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "job": job, "waiting": waiting})
    else:
        typer.echo(
            f"{waiting} queries of {job} wait. Open {url}\nCtrl-C ends it; every label is stored at once."
        )


def _say_next(said: dict[str, Any]) -> None:
    if said["graded"]:
        typer.echo(f"Next: tierwise learn thompson --job {said['job']} (or another policy that learns)")
    elif said["why"] and said["stored"]:
        typer.echo(f"They are kept but graded nothing yet: {said['why']}", err=True)


def _print_rows(rows: list[Row]) -> None:
    if not rows:
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row.values()))
    Console(highlight=False, markup=False, soft_wrap=True).print(table)
