"""A batch's line in the log, and its troubles: one line a kind."""

import logging
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.monitoring.batch_log import say_committed, say_trouble
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Commit, Totals


def test_one_line_with_what_it_came_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    commit = Commit(
        job=JobId("j"), generation=Generation(1), batch=BatchIndex(0), fence=Fence(1), files={}, rows={},
        statuses={"answered": 9, "review": 1}, tiers={"small": 9}, ledger=Totals(calls=12, cost=1_500_000_000),
    )  # fmt: skip
    say_committed("j/1/0", commit, 4.25)
    say_committed("j/1/0", None, 0.1)
    first, second = caplog.records
    assert first.getMessage() == "batch j/1/0, 10 queries, 12 calls, $1.50, 4.2 s: committed"
    fields: Any = first.__dict__["fields"]
    assert (fields["queries"], fields["calls"], fields["cost_usd"]) == (10, 12, Decimal("1.5"))
    assert second.getMessage() == "batch j/1/0, by a former holder: committed"


def test_each_trouble_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = pa.table(
        {"presumed": [True, False, True], "cost_usd": [Decimal("0.25"), Decimal("9"), Decimal("0.5")]}
    )
    votes = pa.table({"judge": ["b", "a", "a"], "score": [0.5, None, None], "reason": ["", "no money", "x"]})
    say_trouble({"calls": calls, "votes": votes})
    assert [record.getMessage() for record in caplog.records] == [
        "2 calls of unknown outcome are charged in full: $0.75",
        "judge a could not say anything of 2 answers: no money",
    ]


def test_nothing_is_said_of_a_batch_without_trouble(caplog: pytest.LogCaptureFixture) -> None:
    calls = pa.table({"presumed": pa.array([], pa.bool_()), "cost_usd": pa.array([], pa.decimal128(18, 9))})
    votes = pa.table({name: pa.array([], pa.string()) for name in ("judge", "score", "reason")})
    say_trouble({"calls": calls, "votes": votes})
    assert caplog.records == []
