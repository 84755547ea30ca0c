"""`tierwise schedule`: jobs that run by themselves."""

import asyncio
import json
import logging
import signal
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from jobs.options import Json, Lake, Ledger, Spec, print_json, run_async, services_of, settings_of
from jobs.run import work_to_the_end
from jobs.submit import check_lake
from jobs.summary import read_summary
from pipeline.periods import group_of, periods_at
from pipeline.ports.schedules import Occurrence, ScheduleRow
from pipeline.report.summary import exit_code
from pipeline.schedule.fire import fire, spec_of
from pipeline.schedule.occurrences import upcoming
from pipeline.settings import Settings
from pipeline.submit.spec import read_spec
from pipeline.webhook import deliver, webhook_of
from pipeline.work import Services
from schemas.errors import Problem, SpecError, UnknownSchedule
from schemas.ids import JobId, Nano
from schemas.job import JobSpec
from schemas.manifest import Manifest
from schemas.money import format_usd, nano_to_usd, usd_to_nano
from workers.dead import end_dead_leases

LOOK_S = 5.0  # between looks of `schedule run`
MANY = 1000  # occurrences
log = logging.getLogger("tierwise.schedule")

app = typer.Typer(
    no_args_is_help=True, help="Jobs that run by themselves: `schedule:` in a spec, kept in the ledger."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `schedule list` says it.")]


@app.command()
def add(
    spec: Spec,
    name: Annotated[str | None, typer.Option(help="Default: the spec's name.")] = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Keep a spec to be run by its `schedule:`, as it is now; again with the same name, it replaces the one before.
    `tierwise worker` and `tierwise beat`, or `tierwise schedule run`, fire it."""
    said = run_async(_add(settings_of(lake, ledger), spec, name, lake))
    if as_json:
        print_json(said)
        return
    what = "nothing changed" if said["replaced"] else ""
    what = f"changed: {', '.join(said['changed'])}" if said["changed"] else what
    typer.echo(f"{'Replaced' if said['replaced'] else 'Added'} {said['name']}{f' ({what})' if what else ''}.")
    typer.echo(
        f"Next: {said['next']}. `tierwise worker` and `tierwise beat`, or `tierwise schedule run`, fire it."
    )


async def _add(settings: Settings, path: Path, name: str | None, lake: str | None) -> dict[str, Any]:
    prepared = await read_spec(path, for_calls=False)  # the credentials are those of the workers
    spec = prepared.spec
    check_lake(spec, settings, lake, str(path))
    if spec.schedule is None:
        fix = 'Write `schedule: {cron: "0 2 * * *", timezone: Europe/Zurich}`.'
        raise SpecError(str(path), [Problem("schedule", "is missing", fix)])
    name = _checked(name or spec.name)
    async with services_of(settings) as services:
        schedules, now = services.ledger.schedules, services.clock()
        before = await schedules.schedule(name)
        row = ScheduleRow(
            name=name,
            spec=json.dumps(spec.model_dump(mode="json", by_alias=True), ensure_ascii=False),
            folder=str(path.parent.absolute()),
            paused=before.paused if before else False,
            created_at=before.created_at if before else now,
            decided_until=now,
        )
        changed = _changed(before, row) if before else []
        if before is not None and not {"schedule.cron", "schedule.timezone"} & set(changed):
            row = msgspec.structs.replace(row, decided_until=before.decided_until)
        await schedules.put(row)
        following = upcoming(spec.schedule, now, 1)
    return {
        "name": name, "replaced": before is not None, "changed": changed, "paused": row.paused,
        "next": _at(following[0], spec.schedule.timezone) if following else None,
    }  # fmt: skip


def _checked(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from schemas.model import name_field

    try:
        return TypeAdapter(Annotated[str, name_field()]).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(f"{name!r} is no name: letters, digits, `.`, `_`, `-`, at most 64") from None


def _changed(before: ScheduleRow, row: ScheduleRow) -> list[str]:
    """What the new spec says otherwise, by path."""
    former, fresh = _leaves(json.loads(before.spec)), _leaves(json.loads(row.spec))
    paths = [path for path in {**former, **fresh} if former.get(path, ...) != fresh.get(path, ...)]
    return paths + (["(folder)"] if before.folder != row.folder else [])


def _leaves(data: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(data, dict) or not data:
        return {path: data}
    found: dict[str, Any] = {}
    for name, value in data.items():
        found |= _leaves(value, f"{path}.{name}" if path else name)
    return found


@app.command(name="list")
def list_(lake: Lake = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Each schedule: when it runs next, what its last occurrence came to."""
    said = run_async(_list(settings_of(lake, ledger)))
    if as_json:
        print_json(said)
        return
    if not said:
        typer.echo("No schedules. Next: tierwise schedule add JOB.yaml")
    for row in said:
        state = "paused" if row["paused"] else f"next {row['next']} ({row['next_local']} here)"
        typer.echo(f"{row['name']}: {row['cron']} {row['timezone']}, {state}")
        if row["last"]:
            typer.echo(f"  last {_line(row['last'])}")
        for each in row["periods"]:
            typer.echo(f"  {each['account']}: {_usd(each['spent_usd'])} of {_usd(each['cap_usd'])} spent")


async def _list(settings: Settings) -> list[dict[str, Any]]:
    async with services_of(settings) as services:
        rows = await services.ledger.schedules.schedules()
        return [await _state(services, row) for row in rows]


async def _state(services: Services, row: ScheduleRow) -> dict[str, Any]:
    spec, use = spec_of(row)
    following = upcoming(use, services.clock(), 1)
    recent = await services.ledger.schedules.occurrences(row.name, MANY)
    ran = next((each for each in recent if each.state not in ("due", "missed")), None)
    return {
        "name": row.name,
        "cron": use.cron,
        "timezone": use.timezone,
        "paused": row.paused,
        "next": _at(following[0], use.timezone) if following and not row.paused else None,
        "next_local": _at(following[0]) if following and not row.paused else None,
        "waiting": sum(each.state == "due" for each in recent),
        "last": await _told(services, ran, use.timezone) if ran else None,
        "periods": await _spent(services, spec, row.name),
    }


async def _spent(services: Services, spec: JobSpec, name: str) -> list[dict[str, Any]]:
    """Of the periods of now; their caps with what was carried into them."""
    found = []
    for period in periods_at(spec, group_of(spec, name), services.clock()):
        account = await services.ledger.account(period.account)
        cap, spent = (account.cap, account.spent) if account else (period.cap, Nano(0))
        found.append(
            {"account": period.account, "spent_usd": nano_to_usd(spent), "cap_usd": nano_to_usd(cap)}
        )
    return found


@app.command()
def history(
    name: Name,
    limit: Annotated[int, typer.Option(help="Occurrences, the latest first.", min=1)] = 20,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """What became of a schedule's occurrences, the latest first."""
    said = run_async(_history(settings_of(lake, ledger), name, limit))
    if as_json:
        print_json(said)
        return
    for row in said:
        typer.echo(_line(row))


async def _history(settings: Settings, name: str, limit: int) -> list[dict[str, Any]]:
    async with services_of(settings) as services:
        row = await services.ledger.schedules.schedule(name)
        if row is None:
            raise UnknownSchedule(name=name)
        _, use = spec_of(row)
        rows = await services.ledger.schedules.occurrences(name, limit)
        return [await _told(services, each, use.timezone) for each in rows]


async def _told(services: Services, occurrence: Occurrence, zone: str) -> dict[str, Any]:
    """An occurrence with what its job came to."""
    said = {
        "schedule": occurrence.schedule, "scheduled_at": _at(occurrence.scheduled_at, zone),
        "state": occurrence.state, "note": occurrence.note, "job": occurrence.job, "job_state": None,
        "exit_code": occurrence.exit_code, "statuses": None, "cost_usd": None, "webhook": None,
    }  # fmt: skip
    row = await services.ledger.job(occurrence.job) if occurrence.job else None
    if row is None:
        return said
    if row.state != "closed":
        return {**said, "job_state": row.state}
    summary = await asyncio.to_thread(read_summary, services, row.job)
    code = exit_code(summary, await _allowance(services, row.job))
    return {
        **said, "job_state": row.state, "exit_code": code, "statuses": summary.statuses,
        "cost_usd": summary.cost_usd, "webhook": await webhook_of(services, row.job),
    }  # fmt: skip


async def _allowance(services: Services, job: JobId) -> Any:
    from jobs.summary import allowance_of
    from schemas import lake, manifest

    return allowance_of(manifest.decode(await services.storage.read(lake.manifest(job))))


def _line(said: dict[str, Any]) -> str:
    ended = " · ".join(f"{count:,} {status}" for status, count in (said["statuses"] or {}).items())
    parts = [said["job"] or said["state"], said["job_state"] or "", said["note"], ended]
    if said["cost_usd"] is not None:
        parts.append(_usd(said["cost_usd"]))
    if said["exit_code"] is not None:
        parts.append(f"exit {said['exit_code']}")
    if said["webhook"] and said["webhook"]["state"] != "delivered":
        parts.append(f"webhook {said['webhook']['state'].replace('_', ' ')}: {said['webhook']['note']}")
    return f"{said['scheduled_at']}: {', '.join(filter(None, parts))}"


def _usd(amount: Decimal) -> str:
    return format_usd(usd_to_nano(amount))


def _at(unix_ms: int, zone: str | None = None) -> str:
    """To the minute, with the offset that holds then; None: the zone of this machine."""
    from zoneinfo import ZoneInfo

    at = datetime.fromtimestamp(unix_ms / 1000, ZoneInfo(zone) if zone else None)
    said = at if zone else at.astimezone()
    return said.isoformat(sep=" ", timespec="minutes") + (f" {zone}" if zone else "")


@app.command()
def pause(name: Name, lake: Lake = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Fire no more, until `schedule resume`. What comes due meanwhile never runs; a job under way goes on."""
    run_async(_pause(settings_of(lake, ledger), name, True))
    print_json({"name": name, "paused": True}) if as_json else typer.echo(f"{name} is paused.")


@app.command()
def resume(name: Name, lake: Lake = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Fire again, from now on."""
    run_async(_pause(settings_of(lake, ledger), name, False))
    print_json({"name": name, "paused": False}) if as_json else typer.echo(f"{name} runs again.")


async def _pause(settings: Settings, name: str, paused: bool) -> None:
    async with services_of(settings) as services:
        if not await services.ledger.schedules.pause(name, paused, services.clock()):
            raise UnknownSchedule(name=name)


@app.command()
def remove(name: Name, lake: Lake = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Forget a schedule and its history. Its jobs stay, and one under way goes on."""

    async def work() -> None:
        async with services_of(settings_of(lake, ledger)) as services:
            if not await services.ledger.schedules.remove(name):
                raise UnknownSchedule(name=name)

    run_async(work())
    said = f"{name} is removed; its jobs stay."
    print_json({"name": name, "removed": True}) if as_json else typer.echo(said)


@app.command()
def run(
    once: Annotated[
        bool, typer.Option("--once", help="What is due now, then end: for a clock of your own.")
    ] = False,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Fire schedules and work on their jobs in this process, without a broker, until stopped. With --once the exit
    code is the largest of what ran."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
    settings = settings_of(lake, ledger)
    try:
        ran = run_async(_run(settings, once, as_json))
    except asyncio.CancelledError:
        return
    if once and as_json:
        print_json({"ran": ran, "exit_code": _worst(ran)})
    if code := _worst(ran):
        raise typer.Exit(code)


def _worst(ran: Sequence[dict[str, Any]]) -> int:
    return max((each["exit_code"] or 0 for each in ran), default=0)


async def _run(settings: Settings, once: bool, quiet: bool) -> list[dict[str, Any]]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with services_of(settings) as services:
        if once:
            return await _until_done(services, settings, quiet)
        while True:
            try:
                said = await _look(services, settings)
            except Exception:
                log.exception("this look failed; the next one starts afresh")
                said = []
            _say(said, quiet)
            await asyncio.sleep(0 if said else LOOK_S)


async def _until_done(services: Services, settings: Settings, quiet: bool) -> list[dict[str, Any]]:
    """What has come due by now: catching up takes a look for each occurrence."""
    until = services.clock()
    ran: list[dict[str, Any]] = []
    while said := await _look(services, settings, until):
        _say(said, quiet)
        ran += said
    return ran


def _say(said: Sequence[dict[str, Any]], quiet: bool) -> None:
    for each in said if not quiet else []:
        typer.echo(f"{each['schedule']} {_line(each)}")


async def _look(services: Services, settings: Settings, until: int | None = None) -> list[dict[str, Any]]:
    """Fire, and work until no job of a schedule is open; what became of each occurrence."""
    await end_dead_leases(services)
    await deliver(services)
    fired = await fire(services, _leave, until)
    ended: list[dict[str, Any]] = []
    for row in await services.ledger.schedules.schedules():
        _, use = spec_of(row)
        for last in await services.ledger.schedules.occurrences(row.name, 1, "submitted"):
            if await _is_open(services, last):
                assert last.job is not None
                await work_to_the_end(services, settings, last.job, 0, quiet=True)
                ended.append(await _told(services, last, use.timezone))
        mine = [each for each in fired if each.schedule == row.name and each.state != "submitted"]
        ended += [await _told(services, each, use.timezone) for each in mine]
    return sorted(ended, key=lambda each: str(each["scheduled_at"]))


async def _leave(pinned: Manifest) -> None:
    """Nobody is told: the job is worked on here."""


async def _is_open(services: Services, occurrence: Occurrence) -> bool:
    row = await services.ledger.job(occurrence.job) if occurrence.job else None
    return row is not None and row.state != "closed"
