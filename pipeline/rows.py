"""From what a batch did to the columns of its tables."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.cascade.call import Asked
from pipeline.ports.ledger import CallRow
from schemas.ids import Nano, QueryId, TierName
from schemas.manifest import Manifest
from schemas.money import TOKEN_CLASSES, Usage
from schemas.records import Lease, Purpose, Query, Result, Value
from schemas.tables import TABLES, USD, usd_column


class OffLedger(msgspec.Struct, frozen=True, kw_only=True):
    """A call the ledger has no row for: a local tier's, or an answer used again at no cost."""

    query_id: QueryId
    tier: TierName
    asked: Asked
    model: str
    purpose: Purpose = "answer"


def answer_text(value: Value | None) -> str | None:
    """An answer as it stands in tables: text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def batch_tables(
    manifest: Manifest,
    lease: Lease,
    results: Sequence[Result],
    off_ledger: Sequence[OffLedger],
    calls: Sequence[CallRow],
) -> dict[str, pa.Table]:
    """One Arrow table per table of the lake that a batch writes."""
    stamp = {
        "job": lease.job,
        "generation": lease.generation,
        "asked_in": lease.generation,
        "batch": lease.batch,
    }
    answers = {
        step.call_id: answer_text(step.answer.value)
        for result in results
        for step in result.steps
        if step.call_id
    }
    rows = call_rows(calls) + [_off_ledger_row(each) for each in off_ledger]
    return {
        "results": _table("results", stamp, _result_rows(manifest, results, calls)),
        "calls": _table("calls", stamp, rows),
        "call_items": _table("call_items", stamp, (_item_row(row, answers) for row in rows)),
        "decisions": _table("decisions", stamp, _decision_rows(lease, results)),
        "votes": _table("votes", stamp, _vote_rows(results)),
    }


def documents_table(manifest_job: str, generation: int, queries: Sequence[Query]) -> pa.Table:
    rows = [
        {
            "query_id": query.query_id,
            "text": query.text,
            "gold": query.gold,
            "fields": msgspec.json.encode(query.fields).decode(),
            "rejected": query.rejected,
        }
        for query in queries
    ]
    return _table("documents", {"job": manifest_job, "generation": generation}, rows)


def read_documents(table: pa.Table) -> list[Query]:
    columns = [table[name].to_pylist() for name in ("query_id", "text", "fields", "gold", "rejected")]
    return [
        Query(
            query_id=QueryId(query_id),
            text=text,
            fields=msgspec.json.decode(fields, type=dict[str, str]) if fields != "{}" else {},
            gold=gold,
            rejected=rejected,
        )
        for query_id, text, fields, gold, rejected in zip(*columns, strict=True)
    ]


def calls_table(job: str, generation: int, calls: Sequence[CallRow]) -> pa.Table:
    """The ledger's calls of one generation as a table."""
    stamp = {"job": job, "generation": generation, "asked_in": generation}
    return _table("calls", stamp, call_rows(calls))


def _table(name: str, stamp: dict[str, Any], rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows to columns by the table's schema; money comes as integer nano-dollars."""
    rows = list(rows)
    schema = TABLES[name]
    columns = []
    for field in schema:
        if field.name in stamp:
            columns.append(pa.repeat(pa.scalar(stamp[field.name], field.type), len(rows)))
            continue
        values = [row[field.name] for row in rows]
        columns.append(usd_column(values) if field.type == USD else pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _result_rows(
    manifest: Manifest, results: Sequence[Result], calls: Sequence[CallRow]
) -> Iterable[dict[str, Any]]:
    cost: dict[str, int] = {}
    usage: dict[str, list[int]] = {}
    for call in calls:
        cost[call.query_id] = cost.get(call.query_id, 0) + call.cost
        sums = usage.setdefault(call.query_id, [0] * len(TOKEN_CLASSES))
        for index, name in enumerate(TOKEN_CLASSES):
            sums[index] += getattr(call.usage, name)
    for result in results:
        tokens = usage.get(result.query_id, [0] * len(TOKEN_CLASSES))
        yield {
            "query_id": result.query_id,
            "status": result.status,
            "answer": answer_text(result.value),
            "confidence": result.confidence,
            "tier": result.tier,
            "tiers_asked": [step.tier for step in result.steps if step.call_id],
            "category": result.assignment.category,
            "route": result.plan.route,
            "policy_version": result.plan.policy_version,
            "propensity": result.plan.propensity,
            "cost_usd": cost.get(result.query_id, 0),
            "latency_ms": sum(step.latency_ms for step in result.steps),
            "prompt_hash": manifest.prompt_hash,
            "reason": result.reason,
            "finished_at": result.finished_at,
            **{f"{name}_tokens": count for name, count in zip(TOKEN_CLASSES, tokens, strict=True)},
        }


def call_rows(calls: Iterable[CallRow]) -> list[dict[str, Any]]:
    return [
        {
            "call_id": call.call_id,
            "query_id": call.query_id,
            "batch": call.batch,
            "step": call.step,
            "purpose": call.purpose,
            "tier": call.tier,
            "model": call.model,
            "lane": call.lane,
            "sample": call.sample,
            "attempt": call.attempt,
            "outcome": call.outcome or "held",
            "finish_reason": call.finish_reason,
            "held_usd": call.held,
            "cost_usd": call.cost,
            "presumed": call.presumed,
            "latency_ms": call.latency_ms,
            "sent_at": call.sent_at,
            "request_hash": call.request_hash.hex(),
            "error": call.error,
            **_tokens(call.usage),
        }
        for call in calls
    ]


def _off_ledger_row(each: OffLedger) -> dict[str, Any]:
    asked = each.asked
    return {
        "call_id": asked.call_id,
        "query_id": each.query_id,
        "step": 0,
        "purpose": each.purpose,
        "tier": each.tier,
        "model": each.model,
        "lane": "realtime" if asked.reused else "local",
        "sample": 0,
        "attempt": 0,
        "outcome": "reused" if asked.reused else asked.outcome,
        "finish_reason": asked.completion.finish_reason if asked.completion else "",
        "held_usd": Nano(0),
        "cost_usd": Nano(0),
        "presumed": False,
        "latency_ms": asked.latency_ms,
        "sent_at": asked.sent_at,
        "request_hash": asked.request_hash.hex(),
        "error": "",
        **_tokens(Usage()),
    }


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cached_input_tokens": usage.cached_input,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
    }


def _item_row(row: dict[str, Any], answers: dict[Any, str | None]) -> dict[str, Any]:
    return {
        "call_id": row["call_id"],
        "query_id": row["query_id"],
        "position": 0,
        "answer": answers.get(row["call_id"]),
        "cost_usd": row["cost_usd"],
    }


def _decision_rows(lease: Lease, results: Sequence[Result]) -> Iterable[dict[str, Any]]:
    for result in results:
        plan, assignment = result.plan, result.assignment
        for position, step in enumerate(result.steps):
            yield {
                "query_id": result.query_id,
                "step": plan.step,
                "position": position,
                "tier": step.tier,
                "call_id": step.call_id,
                "answer": answer_text(step.answer.value),
                "confidence": step.confidence,
                "accepted": step.accepted,
                "reason": step.reason,
                "category": assignment.category,
                "category_score": assignment.score,
                "category_source": assignment.source,
                "familiar": assignment.familiar,
                "tiers_planned": plan.tiers,
                "route": plan.route,
                "policy_version": plan.policy_version,
                "propensity": plan.propensity,
                "price_of_money": lease.pin.price_of_money,
                "seed": lease.pin.seed,
            }


def _vote_rows(results: Sequence[Result]) -> Iterable[dict[str, Any]]:
    for result in results:
        for position, step in enumerate(result.steps):
            for vote in step.votes:
                yield {
                    "query_id": result.query_id,
                    "step": result.plan.step,
                    "position": position,
                    "tier": step.tier,
                    "call_id": step.call_id,
                    "judge": vote.judge,
                    "version": vote.version,
                    "score": vote.score,
                    "reason": vote.reason,
                }
