"""`tierwise schedule`: kept, fired once each, caught up with, in one process."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.ledger import open_ledger
from pipeline.ports.schedules import ScheduleRow, Schedules
from pipeline.wiring.services import now_ms
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise

DAY = 86_400_000
NIGHTLY = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"  # never while a test runs


def spec_of(place: Tierwise, name: str = "nightly", **more: Any) -> str:
    documents = place.folder / "mails.csv"
    if not documents.exists():
        documents.write_text("id,text\n1,About an invoice.\n2,A refund please.\n")
    spec = {
        "name": name,
        "task": {"kind": "classify", "labels": ["billing", "refund"]},
        "input": {"path": "mails.csv", "id": "id"},
        "tiers": [
            {
                "name": "words",
                "provider": "keyword",
                "keywords": {"billing": ["invoice"], "refund": ["refund"]},
            }
        ],
        "budget": {"usd": 1},
        "schedule": {"cron": NIGHTLY},
        **more,
    }
    return write_spec(place, spec)


def look_back(place: Tierwise, days: float, name: str = "nightly") -> None:
    """As if nobody had looked for so long."""

    async def change(schedules: Schedules, row: ScheduleRow) -> None:
        then = now_ms() - round(days * DAY)
        await schedules.put(msgspec.structs.replace(row, decided_until=then))

    _change(place, name, change)


def comes_due(place: Tierwise, time: int, name: str = "nightly") -> None:
    """An occurrence, whenever it was to be."""

    async def change(schedules: Schedules, row: ScheduleRow) -> None:
        until = row.decided_until
        assert await schedules.decide(name, after=until, until=until, due=[time], now=now_ms())

    _change(place, name, change)


def _change(
    place: Tierwise, name: str, change: Callable[[Schedules, ScheduleRow], Coroutine[Any, Any, None]]
) -> None:
    async def work() -> None:
        ledger = open_ledger(place.ledger_url(), clock=now_ms)
        row = await ledger.schedules.schedule(name)
        assert row is not None
        await change(ledger.schedules, row)
        await ledger.close()

    asyncio.run(work())


def ran(place: Tierwise, code: int = 0) -> list[dict[str, Any]]:
    said = tierwise(place, "schedule", "run", "--once", "--json", code=code).json()
    assert said["exit_code"] == code
    found: list[dict[str, Any]] = said["ran"]
    return found


def test_a_schedule_is_added_listed_replaced_paused_and_removed(place: Tierwise) -> None:
    assert "No schedules" in tierwise(place, "schedule", "list").out
    said = tierwise(place, "schedule", "add", spec_of(place), "--json").json()
    assert (said["name"], said["replaced"]) == ("nightly", False)
    assert ":00+00:00 UTC" in said["next"]
    # When it is added again with another budget, then it says what changed
    again = tierwise(place, "schedule", "add", spec_of(place, budget={"usd": 2}))
    assert "Replaced nightly (changed: budget.usd)" in again.out
    # When it is paused, then nothing comes next, until it is resumed
    tierwise(place, "schedule", "pause", "nightly")
    [row] = tierwise(place, "schedule", "list", "--json").json()
    assert (row["paused"], row["next"]) == (True, None)
    look_back(place, 2)
    assert ran(place) == []
    tierwise(place, "schedule", "resume", "nightly")
    assert ran(place) == []
    assert "next" in tierwise(place, "schedule", "list").out
    tierwise(place, "schedule", "remove", "nightly")
    assert tierwise(place, "schedule", "list", "--json").json() == []
    for command in ("pause", "resume", "remove", "history"):
        assert "schedule list" in tierwise(place, "schedule", command, "nightly", code=2).err


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (None, "schedule: is missing"),
        ({"cron": "0 25 * * *"}, "Bad hour"),
        ({"cron": "0 2 * * *", "timezone": "Mars"}, "no IANA time zone"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(place: Tierwise, schedule: Any, message: str) -> None:
    assert message in tierwise(place, "schedule", "add", spec_of(place, schedule=schedule), code=2).err


def test_a_missed_night_runs_once(place: Tierwise) -> None:
    tierwise(place, "schedule", "add", spec_of(place))
    assert ran(place) == []
    # Given three nights that nobody looked, of which the latest is to run
    look_back(place, 3)
    before = tierwise(place, "schedule", "history", "nightly", "--json").json()
    assert before == []
    told = ran(place)
    # Then its job is named after it, closed, and run no second time
    assert [each["state"] for each in told] == ["missed", "missed", "submitted"]
    job = told[-1]["job"]
    assert job.startswith("nightly-20")
    assert told[-1]["statuses"] == {"answered": 2}
    look_back(place, 3)
    assert ran(place) == []
    [row] = tierwise(place, "schedule", "list", "--json").json()
    assert (row["last"]["job"], row["last"]["exit_code"]) == (job, 0)
    said = place.rows("SELECT job, schedule, scheduled_at IS NOT NULL AS at FROM jobs")
    assert said == [{"job": job, "schedule": "nightly", "at": True}]
    assert "answered" in tierwise(place, "schedule", "list").out


def test_each_missed_night_is_caught_up_with_in_turn(place: Tierwise) -> None:
    schedule = {"cron": NIGHTLY, "missed": "catch_up"}
    tierwise(place, "schedule", "add", spec_of(place, schedule=schedule))
    look_back(place, 3)
    told = ran(place)
    jobs = [each["job"] for each in told]
    assert len(jobs) == 3
    assert jobs == sorted(jobs)
    assert place.rows("SELECT count(*) AS n FROM jobs") == [{"n": 3}]
    history = tierwise(place, "schedule", "history", "nightly", "--json").json()
    assert [each["job"] for each in history] == jobs[::-1]


def test_an_occurrence_of_which_no_job_can_be_made_says_why(place: Tierwise, tmp_path: Path) -> None:
    tierwise(place, "schedule", "add", spec_of(place))
    (place.folder / "mails.csv").unlink()
    look_back(place, 1)
    [told] = ran(place, code=2)
    assert (told["state"], told["exit_code"], told["job"]) == ("failed", 2, None)
    assert "mails.csv" in told["note"]
    # And the next night is another chance
    spec_of(place)
    look_back(place, 0)
    assert ran(place) == []


def test_the_largest_exit_code_of_what_ran_is_the_commands(place: Tierwise) -> None:
    # Given one schedule whose rows are all answered and one with an empty row
    tierwise(place, "schedule", "add", spec_of(place))
    (place.folder / "bad.csv").write_text("id,text\n1,About an invoice.\n2,\n")
    bad = spec_of(place, "bad", input={"path": "bad.csv", "id": "id"})
    tierwise(place, "schedule", "add", bad)
    for name in ("nightly", "bad"):
        look_back(place, 1, name)
    told = {each["schedule"]: each["exit_code"] for each in ran(place, code=3)}
    assert told == {"bad": 3, "nightly": 0}
