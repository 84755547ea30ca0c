"""Which periods a moment falls into."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from pipeline.periods import group_of, periods_at
from schemas.job import Budget, JobSpec

USD = 10**9


def spec_of(**budget: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "nightly",
            "task": {"kind": "classify", "labels": ["a", "b"]},
            "input": {"path": "x.csv"},
            "tiers": [{"name": "words", "provider": "keyword", "keywords": {"a": ["a"]}}],
            "budget": {"usd": 1, **budget},
            "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Zurich"},
        }
    )


def at(*when: int, zone: str = "Europe/Zurich") -> int:
    return round(datetime(*when, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_a_moment_falls_into_the_periods_of_the_schedules_time_zone() -> None:
    spec = spec_of(per={"day": 5, "week": "20.5", "month": 50})
    # Given half an hour past midnight in Zurich, which is the day, week, month and year before in UTC
    found = periods_at(spec, "nightly", at(2024, 1, 1, 0, 30))
    assert [each.account for each in found] == [
        "nightly/day:2024-01-01",
        "nightly/week:2024-W01",
        "nightly/month:2024-01",
    ]
    assert [each.cap / USD for each in found] == [5, 20.5, 50]
    assert [each.carry for each in found] == [0, 0, 0]
    # And a week keeps the year that most of it lies in
    assert periods_at(spec, "t", at(2027, 1, 3, 12))[1].account == "t/week:2026-W53"


def test_the_unused_is_carried_up_to_a_limit() -> None:
    def carried(**per: Any) -> list[float]:
        found = periods_at(spec_of(per={"day": 5, "month": 50, **per}), "g", at(2026, 11, 21))
        return [each.carry / USD for each in found]

    assert carried(rollover="unused") == [5, 50]
    assert carried(rollover="unused", up_to=2) == [2, 2]


def test_who_shares_the_periods() -> None:
    assert group_of(spec_of(), None) == "nightly"
    assert group_of(spec_of(), "weekly") == "weekly"
    assert group_of(spec_of(account="team-a"), "weekly") == "team-a"
    assert periods_at(spec_of(), "nightly", 0) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"per": {}}, "names no period"),
        ({"per": {"day": 1, "up_to": 2}}, "limits `rollover: unused`"),
        ({"per": {"day": 1}, "account": "t", "account_usd": 9}, "remove one"),
        ({"per": {"day": -1}}, "greater than or equal to 0"),
    ],
)
def test_what_is_no_budget_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Budget.model_validate({"usd": Decimal(1), **wrong})
