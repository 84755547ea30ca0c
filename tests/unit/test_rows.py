"""What a batch did, as the columns of its tables."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from pipeline.cascade.rung import Asked
from pipeline.ports.ledger import CallRow
from pipeline.rows import OffLedger, answer_text, batch_tables, documents_table, read_documents
from schemas.ids import AccountId, BatchIndex, CallId, Fence, Generation, JobId, Nano, QueryId, TierName
from schemas.manifest import Manifest
from schemas.money import Usage
from schemas.records import (
    Answer,
    Assignment,
    Completion,
    Lease,
    Onward,
    Pin,
    Plan,
    Query,
    Result,
    Step,
    Vote,
)
from schemas.tables import BATCH_TABLES, TABLES

JOB, Q = JobId("j"), QueryId("q")
TIERS = (TierName("t0"), TierName("t1"))
MANIFEST = Manifest(
    job=JOB, spec={}, spec_hash="s", prompt_hash="p", policy_version="v", prices={}, files={},
    account=AccountId("a"), created_at=0, queries=1, rejected=0, batches=1,
)  # fmt: skip
LEASE = Lease(
    job=JOB, generation=Generation(2), batch=BatchIndex(3), fence=Fence(1), owner="me", attempts=1,
    pin=Pin(policy_version="v", price_of_money=0.5, seed=9),
)  # fmt: skip


def call(number: int, query: str = "q", cost: int = 40, **fields: Any) -> CallRow:
    given = {
        "call_id": CallId(f"c{number}"), "job": JOB, "generation": LEASE.generation, "batch": LEASE.batch,
        "query_id": QueryId(query), "step": 0, "purpose": "answer", "tier": TierName("t"), "model": "m",
        "lane": "realtime", "sample": 0, "attempt": 0, "outcome": "ok", "finish_reason": "stop",
        "usage": Usage(input=10, output=2), "held": Nano(100), "cost": Nano(cost), "presumed": False,
        "latency_ms": 5, "sent_at": 1000, "request_hash": b"\x01", "error": "",
    }  # fmt: skip
    return CallRow(**{**given, **fields})


def result(value: Any = "a", calls: tuple[str | None, ...] = ("c1",), query: str = "q") -> Result:
    steps = tuple(
        Step(
            tier=TierName(f"t{position}"),
            call_id=None if name is None else CallId(name),
            answer=Answer(value=value),
            votes=(Vote(judge="valid", version=1, score=1.0), Vote(judge="agreement", version=1, score=None)),
            confidence=0.9,
            accepted=position == len(calls) - 1,
            reason="why",
            latency_ms=7,
        )
        for position, name in enumerate(calls)
    )
    return Result(
        query_id=QueryId(query), status="answered", value=value, confidence=0.9, tier=TIERS[0], steps=steps,
        assignment=Assignment(category="x/y", score=0.5, familiar=True, source="fast"),
        plan=Plan(tiers=TIERS, accept=(0.8, 0.8), route="ladder", policy_version="v"),
        reason="done", finished_at=2000,
    )  # fmt: skip


def tables(
    results: list[Result], calls: list[CallRow], off: list[OffLedger] | None = None
) -> dict[str, list[dict[str, Any]]]:
    made = batch_tables(MANIFEST, LEASE, results, off or [], calls)
    for name, table in made.items():
        table.validate(full=True)
        assert table.schema.equals(TABLES[name])
        for row in table.to_pylist():
            assert (row["job"], row["generation"], row["asked_in"], row["batch"]) == ("j", 2, 2, 3)
    return {name: table.to_pylist() for name, table in made.items()}


def test_a_batch_writes_its_tables_by_their_schemas_also_when_empty() -> None:
    assert set(tables([result()], [call(1)])) == set(BATCH_TABLES)
    assert all(rows == [] for rows in tables([], []).values())


def test_a_query_costs_what_all_its_calls_cost() -> None:
    calls = [
        call(1, cost=40),
        call(2, cost=100, presumed=True, outcome="presumed", usage=Usage()),
        call(3, cost=5, purpose="taxonomy", usage=Usage(input=1, cached_input=2, reasoning=3)),
        call(4, query="other", cost=7),
    ]

    made = tables([result(), result(query="third", calls=())], calls)

    first, third = made["results"]
    assert first["cost_usd"] == Decimal("0.000000145")
    assert (first["input_tokens"], first["cached_input_tokens"]) == (11, 2)
    assert (first["output_tokens"], first["reasoning_tokens"]) == (2, 3)
    assert third["cost_usd"] == 0
    assert sum(row["cost_usd"] for row in made["calls"]) == Decimal("0.000000152")
    assert [row["cost_usd"] for row in made["call_items"]] == [row["cost_usd"] for row in made["calls"]]


@pytest.mark.parametrize("value", ["plain", ["b", "ä"], {"z": [1, None], "a": "ä"}, None])
def test_answers_that_are_no_text_are_json(value: Any) -> None:
    said = answer_text(value)
    made = tables([result(value)], [call(1)])

    assert said == value if isinstance(value, str) or value is None else json.loads(said or "") == value
    assert "\\u" not in (said or "")
    for name in ("results", "decisions", "call_items"):
        assert made[name][0]["answer"] == said


def test_decisions_and_votes_tell_each_step() -> None:
    made = tables([result(calls=("c1", None))], [call(1)])

    assert made["results"][0]["tiers_asked"] == ["t0"]
    assert made["results"][0]["latency_ms"] == 14
    assert [(row["position"], row["tier"], row["accepted"]) for row in made["decisions"]] == [
        (0, "t0", False),
        (1, "t1", True),
    ]
    assert {(row["price_of_money"], row["seed"], row["category"]) for row in made["decisions"]} == {
        (0.5, 9, "x/y")
    }
    assert [(row["judge"], row["score"]) for row in made["votes"]] == [
        ("valid", 1.0),
        ("agreement", None),
    ] * 2


def test_decisions_tell_what_was_planned_and_what_was_planned_again() -> None:
    class Stays(Onward):
        def replan(self, plan: Plan, asked: Sequence[TierName], confidence: float, standing: float) -> Plan:
            return plan

    fixed = result(calls=("c1",))
    steps = tuple(
        structs.replace(step, replanned=again)
        for step, again in zip(result(calls=("c2", "c3")).steps, ((TierName("t9"),), None), strict=True)
    )
    changed = structs.replace(fixed, steps=steps, plan=structs.replace(fixed.plan, onward=Stays()))

    rows = tables([fixed, changed], [])["decisions"]

    assert [row["replans"] for row in rows] == [False, True, True]
    assert [row["tiers_replanned"] for row in rows] == [None, ["t9"], None]
    assert {tuple(row["tiers_planned"]) for row in rows} == {TIERS}


@pytest.mark.parametrize(
    ("reused", "lane", "outcome"), [(True, "realtime", "reused"), (False, "local", "ok")]
)
def test_calls_the_ledger_does_not_know_stand_there_at_no_cost(reused: bool, lane: str, outcome: str) -> None:
    asked = Asked(
        completion=Completion(text="a", finish_reason="stop"), outcome="ok", call_id=CallId("c9"),
        reused_from=CallId("c1") if reused else None, request_hash=b"\xff",
    )  # fmt: skip
    off = OffLedger(query_id=Q, tier=TierName("t"), asked=asked, model="m")

    made = tables([result(calls=("c9",))], [], [off])

    (row,) = made["calls"]
    assert (row["lane"], row["outcome"], row["cost_usd"], row["request_hash"]) == (lane, outcome, 0, "ff")
    assert made["call_items"][0]["answer"] == "a"


def test_documents_come_back_as_they_went() -> None:
    queries = [
        Query(query_id=Q, text="tä\x00xt", fields={"a": '"b"'}, gold="x"),
        Query(query_id=QueryId("r"), text="", rejected="empty text"),
    ]

    table = documents_table("j", 1, queries)

    assert table.schema.equals(TABLES["documents"])
    assert read_documents(table) == queries
