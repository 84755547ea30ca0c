"""Firing: each occurrence becomes one job, whoever looks, how many, and wherever one of them dies.

An occurrence is entered once (its row is unique), and its job's id is a function of it. One process at a time works
on a schedule, under a lease; what a dead one left is due still, and the next look finds the job there or makes it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pipeline.leased import leased
from pipeline.ports.schedules import Occurrence, OccurrenceState, ScheduleRow
from pipeline.schedule.occurrences import MOST, between, to_run
from pipeline.submit.job import create_job
from pipeline.submit.spec import prepare
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import (
    BrokerUnreachable,
    JobExists,
    LakeUnreachable,
    LedgerUnreachable,
    NothingNew,
    TierwiseError,
)
from schemas.ids import JobId
from schemas.job import JobSpec
from schemas.manifest import Manifest, Scheduled
from schemas.schedule import Schedule
from schemas.secrets import hide

log = logging.getLogger("tierwise.schedule")
Start = Callable[[Manifest], Awaitable[None]]  # hands a job that was made to whoever works on it
OUTSIDE = (BrokerUnreachable, LakeUnreachable, LedgerUnreachable)  # the next look may have better luck
MANY = 10 * MOST  # due occurrences that are looked at together


async def fire(services: Services, start: Start, until: int | None = None) -> list[Occurrence]:
    """Submit what has come due by `until` (Unix ms; None: now) and say what became of it. `start` may be called again
    for a job that was started before."""
    fired: list[Occurrence] = []
    for row in await services.ledger.schedules.schedules():
        if row.paused:
            continue
        async with leased(services, f"schedule/{row.name}") as mine:
            if mine:
                fired += await _fire(services, row.name, start, until or services.clock())
    return fired


def job_of(schedule: str, scheduled_at: int) -> JobId:
    """One job for an occurrence: in UTC, where no hour comes twice."""
    return JobId(f"{schedule}-{datetime.fromtimestamp(scheduled_at / 1000, UTC):%Y%m%dT%H%MZ}")


def spec_of(row: ScheduleRow) -> tuple[JobSpec, Schedule]:
    spec = JobSpec.model_validate_json(row.spec)
    assert spec.schedule is not None  # none is added without
    return spec, spec.schedule


async def _fire(services: Services, name: str, start: Start, until: int) -> list[Occurrence]:
    schedules = services.ledger.schedules
    row = await schedules.schedule(name)  # as it is under the lease
    if row is None or row.paused:
        return []
    spec, use = spec_of(row)
    if until > row.decided_until:
        times, now = between(use, row.decided_until, until), services.clock()
        await schedules.decide(name, after=row.decided_until, until=until, due=times, now=now)
    due = (await schedules.occurrences(name, MANY, "due"))[::-1]
    if not due:
        return []
    fired = [
        await _submit(services, row, spec, each, start) for each in due if await _is_made(services, each)
    ]
    known = {each.scheduled_at for each in fired}
    due = [each for each in due if each.scheduled_at not in known]
    return fired + await _run_in_turn(services, row, spec, due, start)


async def _run_in_turn(
    services: Services, row: ScheduleRow, spec: JobSpec, due: Sequence[Occurrence], start: Start
) -> list[Occurrence]:
    _, use = spec_of(row)
    run = to_run(use, [(each.scheduled_at, each.seen_at) for each in due])
    fired = []
    for each in due:
        if each.scheduled_at not in run:
            note = f"`missed: {use.missed}` leaves it out" + (f", beyond {MOST}" * (use.missed == "catch_up"))
            fired.append(await _end(services, each, "missed", note=note))
        elif not await _is_busy(services, row.name):
            fired.append(await _submit(services, row, spec, each, start))
        elif use.overlap == "skip":
            fired.append(await _end(services, each, "overlapped", note="the job before it was not closed"))
    return fired


async def _is_made(services: Services, due: Occurrence) -> bool:
    """By one who died before it could say so."""
    return await services.ledger.job(job_of(due.schedule, due.scheduled_at)) is not None


async def _is_busy(services: Services, name: str) -> bool:
    """Whether the schedule's last job is not closed."""
    for last in await services.ledger.schedules.occurrences(name, 1, "submitted"):
        row = await services.ledger.job(last.job) if last.job else None
        return row is not None and row.state != "closed"
    return False


async def _submit(
    services: Services, row: ScheduleRow, spec: JobSpec, due: Occurrence, start: Start
) -> Occurrence:
    job = job_of(row.name, due.scheduled_at)
    try:
        if not await _is_made(services, due):
            prepared = await prepare(spec, Path(row.folder), f"schedule {row.name}")
            scheduled = Scheduled(schedule=row.name, scheduled_at=due.scheduled_at, seen_at=due.seen_at)
            with suppress(JobExists):
                await create_job(services, prepared, job, scheduled=scheduled)
        pinned = manifest.decode(await services.storage.read(lake.manifest(job)))
        await start(pinned)
    except OUTSIDE:
        raise
    except NothingNew as said:
        return await _end(services, due, "nothing_new", note=str(said), exit_code=0)
    except TierwiseError as error:
        log.error("schedule %s: %s", row.name, error)
        return await _end(services, due, "failed", note=str(error), exit_code=error.exit_code)
    except Exception as error:
        log.exception("schedule %s: no job could be made of its occurrence", row.name)
        note = hide(f"{type(error).__name__}: {error}")
        return await _end(services, due, "failed", note=note, exit_code=1)
    return await _end(
        services, due, "submitted", job=job, note=str(pinned.incremental or f"{pinned.queries:,} rows")
    )


async def _end(services: Services, due: Occurrence, state: OccurrenceState, **said: Any) -> Occurrence:
    ended = msgspec.structs.replace(due, state=state, **said)
    await services.ledger.schedules.end(ended)
    return ended
