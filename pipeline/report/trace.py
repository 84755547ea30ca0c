"""How one query came to its answer: tiers asked, judges' words, calls, what people said."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.sql import Row, rows


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as the lake has them, in the order they were made."""

    result: Row  # with the document
    decisions: list[Row]  # one for each tier asked
    votes: list[Row]
    calls: list[Row]
    reviews: list[Row]


def read_traces(connection: DuckDBPyConnection, job: str, query_ids: Sequence[str]) -> list[Trace]:
    """In the order of the ids; those of no query are left out."""
    asked = {"job": job, "query_ids": list(query_ids)}
    results = {row["query_id"]: row for row in rows(connection, "query_result", **asked)}
    parts = {
        name: _by_query(rows(connection, f"query_{name}", **asked))
        for name in ("decisions", "votes", "calls", "reviews")
    }
    return [
        Trace(result=results[each], **{name: found.get(each, []) for name, found in parts.items()})
        for each in query_ids
        if each in results
    ]


def steps(trace: Trace) -> list[Row]:
    """One row for each tier asked: what it said, what the judges made of it, what asking it cost."""
    return [
        {
            "tier": step["tier"],
            "answer": step["answer"],
            "confidence": step["confidence"],
            "judges": ", ".join(
                vote_text(vote) for vote in trace.votes if vote["position"] == step["position"]
            ),
            "cost_usd": sum(
                (call["cost_usd"] for call in trace.calls if _is_answer(call, step["tier"])), Decimal(0)
            ),
            "verdict": f"{'accepted' if step['accepted'] else 'escalated'}: {step['reason']}",
        }
        for step in trace.decisions
    ]


def vote_text(vote: Row) -> str:
    if vote["score"] is None:
        return f"{vote['judge']} failed ({vote['reason']})"
    return f"{vote['judge']} {vote['score']:.2f}"


def _is_answer(call: Row, tier: str) -> bool:
    return call["tier"] == tier and call["purpose"] in ("answer", "audit")


def _by_query(found: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in found:
        grouped.setdefault(row["query_id"], []).append(row)
    return grouped
