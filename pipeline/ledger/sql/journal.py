"""Reading the journal of calls."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import calls
from pipeline.ports.ledger import CallRow
from schemas.ids import BatchIndex, CallId, Generation, JobId
from schemas.money import Usage
from schemas.records import Totals

_SHOWN = [
    calls.c[name]
    for name in (
        "call_id", "job", "generation", "batch", "query_id", "step", "purpose", "tier", "model", "lane",
        "sample", "attempt", "outcome", "finish_reason", "amount", "cost", "state", "latency_ms", "sent_at",
        "request_hash", "error", "input", "cached_input", "cache_write", "output", "reasoning",
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
        error, *tokens,
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
    )


def usage_of(tokens: Sequence[int]) -> Usage:
    """Tokens in the order of the columns."""
    given, cached, written, output, reasoning = tokens
    return Usage(input=given, cached_input=cached, cache_write=written, output=output, reasoning=reasoning)


def read_totals(tx: Tx, job: JobId, generation: Generation) -> Totals:
    def count(state: str) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((calls.c.state == state, 1), else_=0)), 0)

    query = select(
        func.count(), func.coalesce(func.sum(calls.c.cost), 0), count("presumed"), count("held")
    ).where(calls.c.job == job, calls.c.generation == generation)
    names = ("calls", "cost", "presumed", "held")
    return Totals(**{name: int(value) for name, value in zip(names, tx.run(query).one(), strict=True)})


def read_body(tx: Tx, call_id: CallId) -> bytes | None:
    found = tx.run(select(calls.c.body).where(calls.c.call_id == call_id)).scalar_one_or_none()
    return None if found is None else bytes(found)
