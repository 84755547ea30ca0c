"""Schedules in every ledger: each occurrence is entered once, whoever looks."""

import asyncio

import msgspec
import pytest

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Ledger
from pipeline.ports.schedules import ScheduleRow, Schedules
from schemas.ids import JobId


@pytest.fixture
def schedules(ledger: Ledger) -> Schedules:
    return ledger.schedules


def row_of(name: str, **changes: object) -> ScheduleRow:
    row = ScheduleRow(name=name, spec="{}", folder="/jobs", created_at=1, decided_until=1000)
    return msgspec.structs.replace(row, **changes)


async def times(schedules: Schedules, name: str, state: str | None = None) -> list[int]:
    found = await schedules.occurrences(name, 100, state)  # type: ignore[arg-type]
    return [each.scheduled_at for each in found]


async def test_a_schedule_is_kept_replaced_and_removed(schedules: Schedules, name: str) -> None:
    assert await schedules.schedule(name) is None
    await schedules.put(row_of(name))
    await schedules.decide(name, after=1000, until=2000, due=[1500], now=2000)
    # When it is replaced, then what became of its occurrences stays
    changed = row_of(name, spec='{"a":1}', decided_until=2000, paused=True)
    await schedules.put(changed)
    assert await schedules.schedule(name) == changed
    assert changed in await schedules.schedules()
    assert await times(schedules, name) == [1500]
    # When it is removed, then all of it is gone, once
    assert await schedules.remove(name)
    assert not await schedules.remove(name)
    assert await schedules.schedule(name) is None
    assert await times(schedules, name) == []


async def test_of_many_who_look_at_once_one_enters_an_occurrence(schedules: Schedules, name: str) -> None:
    await schedules.put(row_of(name))
    looks = [
        schedules.decide(name, after=1000, until=3000 + at, due=[2000, 3000], now=3000 + at)
        for at in range(8)
    ]
    assert sum(await asyncio.gather(*looks)) == 1
    assert await times(schedules, name, "due") == [3000, 2000]
    # And an occurrence that is there already is not entered again, where a clock was set back
    row = await schedules.schedule(name)
    assert row is not None
    [done] = [each for each in await schedules.occurrences(name, 9) if each.scheduled_at == 3000]
    await schedules.end(msgspec.structs.replace(done, state="submitted", job=JobId("j"), note="3 rows"))
    await schedules.put(msgspec.structs.replace(row, decided_until=1500))
    assert await schedules.decide(name, after=1500, until=3000, due=[2000, 3000], now=3000)
    assert await times(schedules, name, "due") == [2000]


async def test_what_became_of_an_occurrence_stands(schedules: Schedules, name: str) -> None:
    await schedules.put(row_of(name))
    await schedules.decide(name, after=1000, until=2000, due=[2000], now=2001)
    [due] = await schedules.occurrences(name, 1)
    assert (due.state, due.job, due.seen_at, due.exit_code) == ("due", None, 2001, None)
    made = msgspec.structs.replace(due, state="submitted", job=JobId("j"), note="3 rows")
    await schedules.end(made)
    await schedules.end(msgspec.structs.replace(due, state="failed", note="too late", exit_code=2))
    assert await schedules.occurrences(name, 1) == [made]


async def test_what_comes_due_while_it_is_paused_never_runs(schedules: Schedules, name: str) -> None:
    await schedules.put(row_of(name))
    assert await schedules.pause(name, True, 1500)
    assert not await schedules.decide(name, after=1000, until=2000, due=[1800], now=2000)
    # When it goes on, then from that moment
    assert await schedules.pause(name, False, 5000)
    row = await schedules.schedule(name)
    assert row is not None
    assert (row.paused, row.decided_until) == (False, 5000)
    assert not await schedules.pause(f"{name}-other", True, 0)


async def test_it_outlives_its_process(durable_url: str, name: str) -> None:
    first = open_ledger(durable_url, lambda: 0)
    await first.schedules.put(row_of(name))
    await first.schedules.decide(name, after=1000, until=2000, due=[2000], now=2000)
    await first.close()
    second = open_ledger(durable_url, lambda: 0)
    assert await second.schedules.schedule(name) == row_of(name, decided_until=2000)
    assert await times(second.schedules, name, "due") == [2000]
    await second.close()
