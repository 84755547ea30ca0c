"""`tierwise replay JOB`: a closed job decided again from the answers it paid for."""

from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.options import job_of, print_json, run_async, settings_of
from pipeline.replay.whatif import Change, what_if
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.ids import JobId


def replay_job(
    job: str,
    *,
    accept: Sequence[str],
    tiers: str | None,
    policy: Sequence[str],
    limit: int,
    lake: str | None,
    as_json: bool,
) -> None:
    """Print it beside the job as it was. `accept`: TIER=P each; `tiers`: names with commas between. Raises
    JobNotClosed, InputError."""
    if len(policy) > 1:
        raise typer.BadParameter("one --policy at a time for a job")
    change = Change(
        accept=dict(map(_threshold, accept)),
        tiers=[name.strip() for name in tiers.split(",")] if tiers else [],
        policy=policy[0] if policy else None,
    )
    settings = settings_of(lake)
    said = run_async(_decide_again(job_of(settings, job), change, limit, settings.lake_uri()))
    if as_json:
        print_json(said)
    else:
        _print(Console(highlight=False, soft_wrap=True), said)


async def _decide_again(job: str, change: Change, limit: int, uri: str) -> dict[str, Any]:
    storage = open_storage(uri)
    try:
        with connect(storage) as connection:
            return await what_if(storage, connection, JobId(job), change, limit)
    finally:
        await storage.close()


def _threshold(text: str) -> tuple[str, float]:
    tier, mark, given = text.rpartition("=")
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not mark or not tier or not 0 <= value <= 1:
        raise typer.BadParameter(f"--accept {text}: write TIER=P with P from 0 to 1, as --accept mini=0.9")
    return tier, value


def _print(console: Console, said: dict[str, Any]) -> None:
    console.print(_table(f"All {said['queries']:,} queries", said))
    after = said["after"]
    if missing := after["not_replayable"]:
        counts = ", ".join(f"{tier} for {count:,}" for tier, count in missing.items())
        console.print(
            f"{sum(missing.values()):,} queries cannot be replayed, a tier they would ask was never asked: {counts}. "
            "Their answers are open, their cost is estimated from the tier's mean.",
            markup=False,
        )
    if said["drawn"]:
        title = f"The {said['drawn']['queries']:,} drawn rows, of which the audit asked every tier"
        console.print(_table(title, said["drawn"]))
    if said["answers"]:
        table = Table(*said["answers"][0], title="Answers that would change", title_justify="left")
        for row in said["answers"]:
            table.add_row(*(escape("" if cell is None else str(cell)) for cell in row.values()))
        console.print(table)


def _table(title: str, said: dict[str, Any]) -> Table:
    before, after = said["before"], said["after"]
    table = Table("", "as it was", "replayed", title=title, title_justify="left")
    table.add_row("queries", f"{said['queries']:,}", f"{after['replayed']:,}")
    table.add_row("cost", f"${before['cost_usd']:f}", _cost(after["cost_low_usd"], after["cost_high_usd"]))
    for kind in ("statuses", "tiers"):
        for name in {**before[kind], **after[kind]}:
            said_by = f"answered by {name}" if kind == "tiers" else name
            table.add_row(escape(said_by), *(f"{each[kind].get(name, 0):,}" for each in (before, after)))
    if before["accuracy"] is not None:
        table.add_row("accuracy", f"{before['accuracy']:.3f}", _accuracy(after))
    table.add_row("answers changed", "", _changed(after))
    return table


def _cost(low: Any, high: Any) -> str:
    if low == high:
        return f"${low:f}"
    return f"at least ${low:f}" if high is None else f"${low:f} to ${high:f}"


def _accuracy(after: dict[str, Any]) -> str:
    low, high = after["accuracy_low"], after["accuracy_high"]
    if low is None:
        return "-"
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _changed(after: dict[str, Any]) -> str:
    return f"{after['changed']:,}, {after['now_right']:,} now right, {after['now_wrong']:,} now wrong"
