"""`tierwise reconcile`: the ledger beside what a provider says it billed, and presumed spend back where it was not."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.options import Json, Lake, Ledger, print_json, run_async, services_of, settings_of
from pipeline.reconcile.compare import Compared, Comparison, Difference, compare
from pipeline.reconcile.exports import read_exports
from pipeline.reconcile.ours import closed_jobs, read_ours, read_presumed, recorded
from pipeline.reconcile.release import LEASE, Plan, plan, record, settle
from pipeline.reconcile.span import Span
from pipeline.reconcile.usage import Export, days_between
from pipeline.settings import Settings
from pipeline.storage.views import connect
from pipeline.work import Services
from schemas.errors import JobNotClosed, ReleaseUnderWay
from schemas.ids import JobId
from schemas.money import TOKEN_CLASSES, format_usd, nano_to_usd

DIFFERS = 8  # exit code: a difference that nothing explains
LEASE_MS = 600_000
DATES = ["%Y-%m-%d"]


def command(
    usage: Annotated[
        list[Path], typer.Argument(metavar="USAGE…", help="The provider's export: one file or several.")
    ],
    since: Annotated[
        datetime | None, typer.Option("--from", formats=DATES, help="First UTC day; default: the export's.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=DATES, help="Last UTC day; default: the export's.")
    ] = None,
    job: Annotated[
        list[str] | None, typer.Option("--job", help="Only this job, where the export is of its key alone.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="OURS=THEIRS", help="What the export calls a model of ours."),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Give back presumed spend that was not billed.")
    ] = False,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Compare closed jobs with a provider's usage export by model, day and token class, and explain each difference.
    Forms: OpenAI (usage API pages, CSV), Anthropic (usage report pages), AWS cost and usage reports (Bedrock).

    Exit code 8: a difference has no explanation. With both --from and --to, an export without lines for empty days is
    taken to cover them."""
    export = _covering(read_exports(usage), since, until)
    known = export.days | {line.day for line in export.billed}
    days = (since.date() if since else min(known), until.date() if until else max(known))
    asked = _Asked(jobs=[JobId(each) for each in job or []], names=_names(model or []), days=days)
    said = run_async(_reconcile(settings_of(lake, ledger), export, asked, release))
    if as_json:
        print_json(_plain(said))
    else:
        _print(Console(highlight=False, soft_wrap=True), said)
    if not said.comparison.explained:
        raise typer.Exit(DIFFERS)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    jobs: list[JobId]  # none: all closed ones
    names: dict[str, str]  # our model -> the export's name of it
    days: tuple[date, date]  # first, last


@dataclass(frozen=True, kw_only=True)
class _Said:
    export: Export
    comparison: Comparison
    plans: list[Plan]
    running: list[JobId]  # not closed: their usage counts as others'
    released: int | None  # nano-dollars; None: nothing was to be


def _covering(export: Export, since: datetime | None, until: datetime | None) -> Export:
    if not (export.sparse and since and until):
        return export
    return msgspec.structs.replace(
        export, days=export.days | frozenset(days_between(since.date(), until.date()))
    )


def _names(given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if wrong := [each for each, pair in zip(given, pairs, strict=True) if not all(pair)]:
        raise typer.BadParameter(
            f"{wrong[0]!r} is no OURS=THEIRS, such as gpt-4.1-nano=gpt-4.1-nano-2025-04-14"
        )
    return {ours: theirs for ours, _, theirs in pairs}


async def _reconcile(settings: Settings, export: Export, asked: _Asked, release: bool) -> _Said:
    async with services_of(settings) as services:
        if not release:
            return await _compare(services, export, asked, release=False)
        async with _alone(services):
            return await _compare(services, export, asked, release=True)


@asynccontextmanager
async def _alone(services: Services) -> AsyncIterator[None]:
    ledger, owner = services.ledger, services.owner
    fence = await ledger.take(LEASE, owner=owner, now=services.clock(), ttl_ms=LEASE_MS)
    if fence is None:
        raise ReleaseUnderWay
    try:
        yield
    finally:
        await ledger.give_back(LEASE, owner=owner, fence=fence)


async def _compare(services: Services, export: Export, asked: _Asked, *, release: bool) -> _Said:
    storage, ledger, now = services.storage, services.ledger, services.clock()
    with connect(storage) as connection:
        closed = closed_jobs(connection)
        if unknown := [each for each in asked.jobs if each not in closed]:
            raise JobNotClosed(job=unknown[0], state="not closed yet, or not in this lake")
        jobs = asked.jobs or closed
        ours = await read_ours(connection, storage, ledger, jobs, export.form)
        comparison = compare(ours, export, asked.names, asked.days, datetime.fromtimestamp(now / 1000, UTC))
        plans, released = plan(comparison, ours), None
        if release:
            await settle(ledger, plans)
            presumed = await read_presumed(connection, ledger, jobs)
            await record(storage, presumed, recorded(connection, jobs), now)
            released = sum(each.released for each in plans)
        running = [row.job for row in await ledger.jobs() if row.state != "closed"]
    return _Said(export=export, comparison=comparison, plans=plans, running=running, released=released)


def _print(console: Console, said: _Said) -> None:
    for match in said.comparison.matches:
        if match.theirs is None:
            console.print(escape(f"{match.ours}: not in the export. {match.why}".strip()))
        elif match.why:
            console.print(escape(f"{match.ours} is billed as {match.theirs} ({match.why})."))
    console.print(_table(said.comparison))
    for one in said.comparison.compared:
        for difference in one.differences:
            console.print(escape(_line(one.span, difference)))
    for kind, lines in said.export.left_out.items():
        console.print(escape(f"Left out of the export: {lines:,} {kind}."))
    if said.running:
        console.print(escape(f"Not closed, so counted as other users: {', '.join(said.running)}."))
    if said.comparison.outside:
        console.print(f"{said.comparison.outside:,} calls on other days were not compared.")
    for fate in said.plans:
        console.print(escape(_fate(fate, done=said.released is not None)))
    console.print(_verdict(said))


def _verdict(said: _Said) -> str:
    open_ = [each for one in said.comparison.compared for each in one.differences if not each.explained]
    if open_:
        return f"{len(open_)} differences have no explanation."
    releasable = sum(each.released for each in said.plans)
    if said.released is None and releasable:
        return f"Every difference is explained. Next: --release gives {format_usd(releasable)} back."
    return "Every difference is explained."


def _table(comparison: Comparison) -> Table:
    """A line for each model and day; a cell holds our tokens and by how much theirs differ."""
    days = [(one.span, one.span.on(day)) for one in comparison.compared for day in one.span.days]
    days.sort(key=lambda pair: (not pair[0].ours, _name(pair[0]), pair[1].days))
    shown = [name for name in TOKEN_CLASSES if any(_tokens(day, name) for _, day in days)]
    names = [name.replace("_", " ") for name in shown]
    caption = "tokens of settled calls; + and -: by how much the export differs"
    table = Table(
        "model", "day", "calls", "presumed", *names, "charged", caption=caption, caption_justify="left"
    )
    for span, day in days:
        table.add_row(
            escape(_name(span)), str(day.days[0]), _beside(day.requests, day.requests_beyond or 0),
            f"{len(day.presumed):,}", *(_cell(day, name) for name in shown), format_usd(day.charge),
        )  # fmt: skip
    return table


def _name(span: Span) -> str:
    return ", ".join(span.ours) or f"{span.theirs} (not ours)"


def _tokens(span: Span, name: str) -> int:
    return span.settled_tokens.get(name, 0) + span.billed_tokens.get(name, 0)


def _cell(span: Span, name: str) -> str:
    return _beside(span.settled_tokens.get(name, 0), span.beyond.get(name, 0))


def _beside(ours: int, beyond: int) -> str:
    return f"{ours:,} {beyond:+,}" if beyond else f"{ours:,}"


def _line(span: Span, each: Difference) -> str:
    worth = f" ({'+' if each.nano > 0 else '-'}{format_usd(abs(each.nano))})" if each.nano else ""
    mark = "" if each.explained else "UNEXPLAINED: "
    return f"{mark}{_name(span)}, {_days(span)}: {each.kind}: {each.why}{worth}."


def _days(span: Span) -> str:
    first, last = span.days[0], span.days[-1]
    return str(first) if first == last else f"{first} to {last}"


def _fate(each: Plan, *, done: bool) -> str:
    span = each.span
    said = f"{_name(span)}, {_days(span)}: {len(span.presumed):,} presumed calls, {format_usd(span.presumed_cost)}"
    if each.kept:
        return f"{said}: kept; {each.kept}."
    billed = sum(share.billed for share in each.shares)
    return (
        f"{said}: {billed:,} billed, {format_usd(each.released)} {'released' if done else 'can be released'}."
    )


def _plain(said: _Said) -> dict[str, Any]:
    released = None if said.released is None else nano_to_usd(said.released)
    return {
        "form": said.export.form,
        "explained": said.comparison.explained,
        "models": [{"ours": each.ours, "theirs": each.theirs, "why": each.why} for each in said.comparison.matches],
        "compared": [_compared(one) for one in said.comparison.compared],
        "outside": said.comparison.outside,
        "not_closed": said.running,
        "left_out": said.export.left_out,
        "presumed": [
            {
                "models": each.span.ours, "days": each.span.days, "calls": len(each.span.presumed),
                "charged_usd": nano_to_usd(each.span.presumed_cost), "kept": each.kept,
                "billed_calls": sum(share.billed for share in each.shares),
                "releasable_usd": nano_to_usd(each.released),
            }
            for each in said.plans
        ],
        "released_usd": released,
    }  # fmt: skip


def _compared(one: Compared) -> dict[str, Any]:
    span = one.span
    return {
        "models": span.ours,
        "billed_as": span.theirs,
        "days": [_figures(span.on(day)) for day in span.days],
        "whole": span.whole,
        "differences": [
            {"kind": each.kind, "explained": each.explained, "why": each.why, "usd": nano_to_usd(each.nano)}
            for each in one.differences
        ],
    }


def _figures(day: Span) -> dict[str, Any]:
    cost = day.billed_cost
    return {
        "day": day.days[0],
        "calls": day.requests,
        "requests_beyond": day.requests_beyond,
        "presumed": len(day.presumed),
        "settled_usd": nano_to_usd(day.settled_cost),
        "presumed_usd": nano_to_usd(day.presumed_cost),
        "billed_usd": None if cost is None else nano_to_usd(round(cost)),
        "tokens": {
            name: {"settled": day.settled_tokens[name], "billed": day.billed_tokens[name]}
            for name in day.classes
        },
    }
