"""When a schedule is due, on plain days and on those the clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.schedule.occurrences import MOST, between, to_run, upcoming
from schemas.schedule import Schedule

DAY = 86_400_000
MINUTE = 60_000
ZONES = ["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
# when the clocks change in New York, Zurich and on Lord Howe, and a month's end
CHANGES = [f"2026-{day}:00+00:00" for day in (
    "03-08T07:00", "11-01T06:00", "03-29T01:00", "10-25T01:00", "04-04T15:00", "10-03T15:30", "02-28T23:00"
)]  # fmt: skip
CRONS = [
    "30 2 * * *",
    "*/20 * * * *",
    "0 2,3 * * *",
    "15 1 * * SUN",
    "59 23 L * *",
    "0 0 1 */3 *",
    "0 */6 * * *",
]


def local(zone: str, *when: int) -> int:
    return round(datetime(*when, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc, arg-type]


def said(schedule: Schedule, times: list[int]) -> list[str]:
    return [datetime.fromtimestamp(time / 1000, schedule.zone).isoformat()[:22] for time in times]


@pytest.mark.parametrize(
    ("zone", "spring", "autumn"),
    [
        (
            "Europe/Zurich",
            ["2026-03-28T02:30:00+01", "2026-03-29T03:00:00+02", "2026-03-30T02:30:00+02"],
            ["2026-10-24T02:30:00+02", "2026-10-25T02:30:00+02", "2026-10-26T02:30:00+01"],
        ),
        (
            "America/New_York",
            ["2026-03-07T02:30:00-05", "2026-03-08T03:00:00-04", "2026-03-09T02:30:00-04"],
            ["2026-10-31T02:30:00-04", "2026-11-01T02:30:00-05", "2026-11-02T02:30:00-05"],
        ),
    ],
)
def test_a_job_at_half_past_two_runs_once_on_each_day_the_clocks_change(
    zone: str, spring: list[str], autumn: list[str]
) -> None:
    schedule = Schedule(cron="30 2 * * *", timezone=zone)
    for expected in (spring, autumn):
        year, month, day = map(int, expected[0][:10].split("-"))
        assert said(schedule, upcoming(schedule, local(zone, year, month, day), 3)) == expected


def test_an_hour_that_comes_twice_has_a_fixed_time_once_and_every_half_hour_twice() -> None:
    # Given the hour between 1 and 2 in New York that autumn repeats
    begin, end = (local("America/New_York", 2026, 11, 1, hour) for hour in (0, 3))
    once = Schedule(cron="30 1 * * *", timezone="America/New_York")
    often = Schedule(cron="*/30 * * * *", timezone="America/New_York")
    assert said(once, between(once, begin, end)) == ["2026-11-01T01:30:00-04"]
    # Then what runs by the clock's hands runs once, what runs by the time that passes runs on
    assert len(between(often, begin, end)) == 8
    # also for who looks first when the hour has begun again
    assert between(once, begin + 130 * MINUTE, end) == []
    # And in spring two times that fall on the same instant are one
    both = Schedule(cron="0 2,3 * * *", timezone="America/New_York")
    day = local("America/New_York", 2026, 3, 8)
    assert said(both, between(both, day, day + DAY // 2)) == ["2026-03-08T03:00:00-04"]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(CRONS),
    st.sampled_from(CHANGES),
    st.integers(-600, 600),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_however_often_one_looks_each_occurrence_is_seen_once(
    zone: str, cron: str, change: str, start: int, first: int, then: int
) -> None:
    schedule = Schedule(cron=cron, timezone=zone)
    begin = round(datetime.fromisoformat(change).timestamp() * 1000) + start * MINUTE
    middle, end = begin + first * MINUTE, begin + (first + then) * MINUTE
    looked_twice = between(schedule, begin, middle) + between(schedule, middle, end)
    assert looked_twice == between(schedule, begin, end)
    assert looked_twice == sorted(set(looked_twice))
    assert all(begin < time <= end for time in looked_twice)
    # and a clock that was set back sees none again
    assert between(schedule, end, begin) == []


def test_after_a_year_the_latest_hundred_are_seen_and_that_there_were_more() -> None:
    schedule = Schedule(cron="* * * * *", missed="catch_up")
    now = local("UTC", 2026, 11, 21)
    seen = between(schedule, now - 365 * DAY, now)
    assert seen == [now - minutes * MINUTE for minutes in range(MOST, -1, -1)]
    assert to_run(schedule, [(time, now) for time in seen]) == seen[1:]


@pytest.mark.parametrize(("missed", "expected"), [("catch_up", [1, 2, 3]), ("latest", [3]), ("skip", [3])])
def test_what_was_missed_runs_as_told(missed: str, expected: list[int]) -> None:
    # Given three nights, of which the last was seen at once
    schedule = Schedule.model_validate({"cron": "0 2 * * *", "missed": missed})
    seen = 3 * DAY + MINUTE
    due = [(night * DAY, seen) for night in (1, 2, 3)]
    assert [time // DAY for time in to_run(schedule, due)] == expected
    # When it was seen much later, then `skip` leaves that one out, too
    late = [(time, seen + DAY // 2) for time, _ in due]
    assert [time // DAY for time in to_run(schedule, late)] == ([] if missed == "skip" else expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cron": "0 25 * * *"}, "Bad hour"),
        ({"cron": "0 2 * *"}, "has five fields"),
        ({"cron": "0 0 31 2 *"}, "Bad day-of-month"),
        ({"cron": "0 2 * * *", "timezone": "Zurich"}, "write one such as Europe/Zurich"),
        ({"cron": "0 2 * * *", "missed": "catch_up", "overlap": "skip"}, "needs `overlap: wait`"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_way_out(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule.model_validate(wrong)
