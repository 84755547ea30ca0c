"""From what a batch did to the columns of its tables, a whole column at a time: a dict per row is dear."""

import json
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.cascade.rung import Asked
from pipeline.ports.ledger import CallRow
from schemas.ids import QueryId, TierName
from schemas.manifest import Manifest
from schemas.money import TOKEN_CLASSES
from schemas.records import Answer, Lease, Query, Result, Step, Totals, Value
from schemas.tables import TABLES, USD, usd_column

Columns = dict[str, list[Any]]
_TOKENS = tuple(f"{name}_tokens" for name in TOKEN_CLASSES)
_usage = attrgetter(*TOKEN_CLASSES)
_NO_ANSWER = Answer(value=None)
_NOTHING = (0,) * (1 + len(TOKEN_CLASSES))


class OffLedger(msgspec.Struct, frozen=True, kw_only=True):
    """A call the ledger has no row for: a local tier's, or an answer used again at no cost."""

    query_id: QueryId
    tier: TierName
    asked: Asked
    model: str


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
    audited: Sequence[Result] = (),
) -> dict[str, pa.Table]:
    """One Arrow table per table of the lake that a batch writes. `audited`: what tiers said to the audit, which is no
    result of a query."""
    stamp = {
        "job": lease.job,
        "generation": lease.generation,
        "asked_in": lease.generation,
        "batch": lease.batch,
        "prompt_hash": manifest.prompt_hash,
        "price_of_money": lease.pin.price_of_money,
        "seed": lease.pin.seed,
    }
    made = _joined(_calls(calls), _off_ledger(off_ledger))
    columns = {
        "results": _results(results, calls),
        "calls": made,
        "call_items": _items(made, [*results, *audited]),
        "decisions": _decisions(results),
        "votes": _votes(results),
    }
    return {name: _table(name, stamp, found) for name, found in columns.items()}


def documents_table(job: str, generation: int, queries: Sequence[Query]) -> pa.Table:
    columns: Columns = {
        "query_id": [query.query_id for query in queries],
        "text": [query.text for query in queries],
        "gold": [query.gold for query in queries],
        "fields": [msgspec.json.encode(query.fields).decode() for query in queries],
        "rejected": [query.rejected for query in queries],
    }
    return _table("documents", {"job": job, "generation": generation}, columns)


def read_documents(table: pa.Table | pa.RecordBatch) -> list[Query]:
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
    return _table("calls", {"job": job, "generation": generation, "asked_in": generation}, _calls(calls))


def totals_of(calls: Sequence[CallRow]) -> Totals:
    return Totals(
        calls=len(calls),
        cost=sum([call.cost for call in calls]),
        presumed=sum([call.presumed for call in calls]),
        held=sum([call.outcome is None for call in calls]),
    )


def _table(name: str, stamp: dict[str, Any], columns: Columns) -> pa.Table:
    """By the table's schema; money comes as integer nano-dollars, `stamp` holds what is the same in every row."""
    count = len(columns["query_id"])
    arrays = []
    for field in TABLES[name]:
        if field.name in stamp:
            arrays.append(pa.repeat(pa.scalar(stamp[field.name], field.type), count))
        elif field.type == USD:
            arrays.append(usd_column(columns[field.name]))
        else:
            arrays.append(_array(columns[field.name], field.type))
    return pa.Table.from_arrays(arrays, schema=TABLES[name])


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Most columns of a batch hold one value throughout: that one alone is converted."""
    if values and values.count(values[0]) == len(values):
        return pa.repeat(pa.scalar(values[0], kind), len(values))
    return pa.array(values, kind)


def _results(results: Sequence[Result], calls: Sequence[CallRow]) -> Columns:
    paid: dict[str, list[CallRow]] = defaultdict(list)
    for call in calls:
        paid[call.query_id].append(call)
    bills = [_bill(paid.get(result.query_id, ())) for result in results]
    cost, *tokens = map(list, zip(*bills, strict=True)) if bills else [[] for _ in _NOTHING]
    return {
        "query_id": [result.query_id for result in results],
        "status": [result.status for result in results],
        "answer": [answer_text(result.value) for result in results],
        "confidence": [result.confidence for result in results],
        "tier": [result.tier for result in results],
        "tiers_asked": [[step.tier for step in result.steps if step.call_id] for result in results],
        "category": [result.assignment.category for result in results],
        "route": [result.plan.route for result in results],
        "policy_version": [result.plan.policy_version for result in results],
        "propensity": [result.plan.propensity for result in results],
        "cost_usd": cost,
        "latency_ms": [sum([step.latency_ms for step in result.steps]) for result in results],
        "reason": [result.reason for result in results],
        "finished_at": [result.finished_at for result in results],
        **dict(zip(_TOKENS, tokens, strict=True)),
    }


def _bill(calls: Sequence[CallRow]) -> tuple[int, ...]:
    """What calls came to: nano-dollars, then tokens by class."""
    bills = [(call.cost, *_usage(call.usage)) for call in calls]
    return bills[0] if len(bills) == 1 else tuple(map(sum, zip(_NOTHING, *bills, strict=True)))


def _calls(calls: Sequence[CallRow]) -> Columns:
    same = ("call_id", "query_id", "batch", "step", "purpose", "tier", "model", "lane", "sample", "attempt")
    kept = ("finish_reason", "presumed", "latency_ms", "sent_at", "error")
    return {
        **_columns((*same, *kept), calls),
        "outcome": [call.outcome or "held" for call in calls],
        "held_usd": [call.held for call in calls],
        "cost_usd": [call.cost for call in calls],
        "request_hash": [call.request_hash.hex() for call in calls],
        "reused_from": [None] * len(calls),
        **dict(zip(_TOKENS, _columns(TOKEN_CLASSES, [call.usage for call in calls]).values(), strict=True)),
    }


def _columns(names: Sequence[str], records: Sequence[Any]) -> Columns:
    return {name: list(map(attrgetter(name), records)) for name in names}


def _off_ledger(found: Sequence[OffLedger]) -> Columns:
    """Local calls and reused answers: no money, no tokens, no attempts."""
    nothing = [0] * len(found)
    asked = [each.asked for each in found]
    return {
        "call_id": [each.call_id for each in asked],
        "query_id": [each.query_id for each in found],
        "batch": nothing,  # stamped
        "purpose": [each.purpose for each in asked],
        "tier": [each.tier for each in found],
        "model": [each.model for each in found],
        "lane": ["realtime" if each.reused else "local" for each in asked],
        "outcome": ["reused" if each.reused else each.outcome for each in asked],
        "finish_reason": [each.completion.finish_reason if each.completion else "" for each in asked],
        "presumed": [False] * len(found),
        "latency_ms": [each.latency_ms for each in asked],
        "sent_at": [each.sent_at for each in asked],
        "request_hash": [each.request_hash.hex() for each in asked],
        "reused_from": [each.reused_from for each in asked],
        "error": [""] * len(found),
        **{name: nothing for name in ("step", "sample", "attempt", "held_usd", "cost_usd")},
        **{name: nothing for name in _TOKENS},
    }


def _joined(first: Columns, second: Columns) -> Columns:
    return {name: values + second[name] for name, values in first.items()} if second["call_id"] else first


def _items(calls: Columns, results: Sequence[Result]) -> Columns:
    """One query a call for now; a call without an answer (429, presumed) carried its query all the same."""
    said = {step.call_id: step.answer for result in results for step in result.steps}
    answers = [said.get(call_id, _NO_ANSWER) for call_id in calls["call_id"]]
    return {
        "call_id": calls["call_id"],
        "query_id": calls["query_id"],
        "position": [0] * len(calls["call_id"]),
        "answer": [answer_text(answer.value) for answer in answers],
        "cost_usd": calls["cost_usd"],
        "confidence": [answer.confidence for answer in answers],
    }


def _decisions(results: Sequence[Result]) -> Columns:
    rows = [(result, position, step) for result in results for position, step in enumerate(result.steps)]
    return {
        **_asked(rows),
        "answer": [answer_text(step.answer.value) for _, _, step in rows],
        "confidence": [step.confidence for _, _, step in rows],
        "accepted": [step.accepted for _, _, step in rows],
        "reason": [step.reason for _, _, step in rows],
        "category": [result.assignment.category for result, _, _ in rows],
        "category_score": [result.assignment.score for result, _, _ in rows],
        "category_source": [result.assignment.source for result, _, _ in rows],
        "familiar": [result.assignment.familiar for result, _, _ in rows],
        "tiers_planned": [result.plan.tiers for result, _, _ in rows],
        "accept_planned": [result.plan.accept for result, _, _ in rows],
        "replans": [result.plan.onward is not None for result, _, _ in rows],
        "tiers_replanned": [step.replanned for _, _, step in rows],
        "route": [result.plan.route for result, _, _ in rows],
        "policy_version": [result.plan.policy_version for result, _, _ in rows],
        "propensity": [result.plan.propensity for result, _, _ in rows],
    }


def _votes(results: Sequence[Result]) -> Columns:
    rows = [
        (result, position, step, vote)
        for result in results
        for position, step in enumerate(result.steps)
        for vote in step.votes
    ]
    votes = [vote for _, _, _, vote in rows]
    return {
        **_asked([row[:3] for row in rows]),
        **_columns(("judge", "version", "score", "reason", "form"), votes),
    }


def _asked(rows: Sequence[tuple[Result, int, Step]]) -> Columns:
    """What names the tier asked, in decisions and in votes."""
    return {
        "query_id": [result.query_id for result, _, _ in rows],
        "step": [result.plan.step for result, _, _ in rows],
        "position": [position for _, position, _ in rows],
        "tier": [step.tier for _, _, step in rows],
        "call_id": [step.call_id for _, _, step in rows],
    }
