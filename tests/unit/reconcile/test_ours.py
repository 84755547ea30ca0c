"""What our jobs asked, as the lake's calls add up."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline.reconcile.ours import Asked, edges, read_settled
from schemas.ids import JobId
from schemas.money import Usage
from schemas.tables import CALLS

DAY = date(2026, 11, 10)


def call(at: str = "12:00:00", **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: 0 if pa.types.is_integer(kind) else ("" if kind == pa.string() else None)
        for name, kind in zip(CALLS.names, CALLS.types, strict=True)
    }
    plain = {
        "job": "j", "tier": "small", "model": "m", "lane": "realtime", "outcome": "ok", "presumed": False,
        "sent_at": datetime.combine(DAY, time.fromisoformat(at)), "held_usd": Decimal("0.5"),
        "cost_usd": Decimal("0.000000120"), "input_tokens": 100, "output_tokens": 5,
    }  # fmt: skip
    return {**given, **plain, **fields}


def settled(*calls: dict[str, Any]) -> list[Asked]:
    with duckdb.connect() as connection:
        connection.register("calls", pa.Table.from_pylist(list(calls), schema=CALLS))
        return read_settled(connection, [JobId("j")])


def test_calls_add_up_by_tier_and_day() -> None:
    found = settled(
        call(), call("23:00:00", cached_input_tokens=7, reasoning_tokens=3),
        call(sent_at=datetime(2026, 11, 11, 3)), call(tier="large", model="l"),
    )  # fmt: skip
    assert [(each.model, each.day.day, each.requests) for each in found] == [
        ("l", 10, 1),
        ("m", 10, 2),
        ("m", 11, 1),
    ]
    assert found[1].usage == Usage(input=200, output=10, cached_input=7, reasoning=3)
    assert (found[1].cost, found[1].doubtful) == (240, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"presumed": True}, {"lane": "local"}, {"outcome": "reused"}, {"job": "other"},
        {"sent_at": datetime(1970, 1, 1), "outcome": "unreachable"},
    ],
)  # fmt: skip
def test_what_is_none_of_it(fields: dict[str, Any]) -> None:
    assert settled(call(**fields)) == []


def test_failed_calls_and_those_without_usage_are_doubtful() -> None:
    none = {"input_tokens": 0, "output_tokens": 0}
    (found,) = settled(
        call(),
        call(outcome="rate_limited", cost_usd=Decimal(0), **none),
        call(cost_usd=Decimal("0.25"), **none),
    )
    assert (found.requests, found.doubtful, found.doubtful_cost) == (2, 2, 750_000_000)


@pytest.mark.parametrize(
    ("at", "early", "late"),
    [
        ("00:00:59", True, False), ("00:01:00", False, False), ("12:00:00", False, False),
        ("23:49:59", False, False), ("23:50:00", False, True),
    ],
)  # fmt: skip
def test_near_midnight(at: str, early: bool, late: bool) -> None:
    (found,) = settled(call(at))
    assert (found.early, found.late) == (early, late)
    assert edges(datetime.combine(DAY, time.fromisoformat(at), UTC)) == (early, late)
