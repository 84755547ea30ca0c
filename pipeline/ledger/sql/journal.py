"""Reading the journal of calls."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, Text, bindparam, case, cast, func, select

from pipeline.ledger.rules import COMPLETE
from pipeline.ledger.sql.hot import key_of_hash, usage_of
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import calls
from pipeline.ports.ledger import REUSED, CallRow, Kept
from schemas.ids import BatchIndex, CallId, Generation, JobId
from schemas.records import Totals

CHUNK = 500  # request hashes per statement

_SHOWN = [
    calls.c[name]
    for name in (
        "call_id", "job", "generation", "batch", "query_id", "step", "purpose", "tier", "model", "lane",
        "sample", "attempt", "outcome", "finish_reason", "amount", "cost", "state", "latency_ms", "sent_at",
        "request_hash", "error", "held_at", "input", "cached_input", "cache_write", "output", "reasoning",
    )
]  # fmt: skip


def read_calls(tx: Tx, job: JobId, generation: Generation, batch: BatchIndex | None) -> list[CallRow]:
    query = select(*_SHOWN).where(calls.c.job == job, calls.c.generation == generation)
    if batch is not None:
        query = query.where(calls.c.batch == batch)
    rows = tx.run(query.order_by(calls.c.batch, calls.c.held_at, calls.c.call_id))
    return [_call(row) for row in rows]


def _call(row: Any) -> CallRow:
    (
        call_id, job, generation, batch, query_id, step, purpose, tier, model, lane, sample,
        attempt, outcome, finish_reason, amount, cost, state, latency_ms, sent_at, request_hash,
        error, held_at, *tokens,
    ) = row  # fmt: skip
    return CallRow(
        call_id=call_id,
        job=job,
        generation=generation,
        batch=batch,
        query_id=query_id,
        step=step,
        purpose=purpose,
        tier=tier,
        model=model,
        lane=lane,
        sample=sample,
        attempt=attempt,
        outcome=outcome,
        finish_reason=finish_reason,
        usage=usage_of(tokens),
        held=amount,
        cost=cost,
        presumed=state == "presumed",
        latency_ms=latency_ms,
        sent_at=sent_at,
        request_hash=bytes(request_hash),
        error=error,
        held_at=held_at,
    )


def read_totals(tx: Tx, job: JobId, generation: Generation) -> dict[BatchIndex, Totals]:
    def count(state: str) -> ColumnElement[int]:
        return func.sum(case((calls.c.state == state, 1), else_=0))

    query = (
        select(calls.c.batch, func.count(), func.sum(calls.c.cost), count("presumed"), count("held"))
        .where(calls.c.job == job, calls.c.generation == generation)
        .group_by(calls.c.batch)
    )
    rows: list[Any] = list(tx.run(query))
    return {
        batch: Totals(calls=made, cost=int(cost), presumed=int(presumed), held=int(held))
        for batch, made, cost, presumed, held in rows
    }


def read_answered(tx: Tx, job: JobId, request_hashes: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for start in range(0, len(request_hashes), CHUNK):
        query = select(calls.c.request_hash).where(
            calls.c.job == job,
            calls.c.request_hash.in_(request_hashes[start : start + CHUNK]),
            calls.c.sample == 0,
            calls.c.outcome.in_(sorted(COMPLETE)),
            calls.c.body.is_not(None),
        )
        found.update(bytes(row) for row in tx.run(query).scalars())
    return found


def read_replies(tx: Tx, request_hashes: Sequence[bytes], since: int, besides: JobId) -> dict[bytes, Kept]:
    query = _REPLIES[tx.postgresql]
    keys = json.dumps([key_of_hash(each) for each in request_hashes])
    rows: list[Any] = list(tx.run(query, {"keys": keys, "since": since, "besides": besides}))
    found = {bytes(each): Kept(call_id, bytes(body)) for each, call_id, body in rows}
    return {each: found[each] for each in request_hashes if each in found}  # a key may name others too


def _replies(keys: Any) -> Any:
    """Keys as one JSON list: a parameter each would cost more than finding its row."""
    return (
        select(calls.c.request_hash, calls.c.call_id, calls.c.body)
        .where(
            calls.c.request_key.in_(select(keys)),
            calls.c.sample == 0,
            calls.c.outcome == "ok",
            calls.c.purpose.in_(REUSED),
            calls.c.settled_at >= bindparam("since"),
            calls.c.body.is_not(None),
            calls.c.job != bindparam("besides"),
        )
        .order_by(calls.c.settled_at, calls.c.call_id)
    )


_KEYS = bindparam("keys", type_=Text)
_REPLIES = {
    False: _replies(func.json_each(_KEYS).table_valued("value").c.value),
    True: _replies(cast(func.json_array_elements_text(cast(_KEYS, JSON)).column_valued(), BigInteger)),
}


def read_body(tx: Tx, call_id: CallId) -> bytes | None:
    found = tx.run(select(calls.c.body).where(calls.c.call_id == call_id)).scalar_one_or_none()
    return None if found is None else bytes(found)
