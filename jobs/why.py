"""`tierwise why`: how one query came to its answer, tier by tier, judge by judge, cent by cent."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from jobs.options import JobName, Json, Lake, job_of, print_json, settings_of
from pipeline.report.sql import Row
from pipeline.report.trace import Trace, read_traces, vote_text
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.errors import InputError


def command(
    job: JobName,
    query_id: Annotated[str, typer.Argument(metavar="QUERY_ID")],
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Explain a query of a closed job."""
    settings = settings_of(lake)
    job = job_of(settings, job)
    with connect(open_storage(settings.lake_uri())) as connection:
        found = read_traces(connection, job, [query_id])
    if not found:
        fix = "See `tierwise query \"SELECT query_id FROM results WHERE job = '…'\"`; the job must be closed."
        raise InputError(path=f"{job}/{query_id}", why="there is no such query", fix=fix)
    if as_json:
        print_json(msgspec.structs.asdict(found[0]))
        return
    _print(Console(highlight=False, markup=False, soft_wrap=True), query_id, found[0])


def _print(console: Console, query_id: str, trace: Trace) -> None:
    result = trace.result
    console.print(f"{query_id}: {result['status']}, {result['answer']!r} by {result['tier']}")
    console.print(f"why: {result['reason']}")
    console.print(
        f"cost: ${result['cost_usd']:f}; category {result['category'] or '(none)'}, route {result['route']}"
    )
    console.print(f"document: {str(result['text'])[:300]}")
    if result["gold"] is not None:
        console.print(f"gold: {result['gold']}")
    for review in trace.reviews:
        console.print(_review(review))
    for step in trace.decisions:
        verdict = "accepted" if step["accepted"] else "escalated"
        console.print(
            f"{step['position'] + 1}. {step['tier']}: {step['answer']!r}, {verdict}: {step['reason']}"
        )
        said = [vote for vote in trace.votes if vote["position"] == step["position"]]
        votes = ", ".join(map(vote_text, said))
        console.print(f"   P(correct) {step['confidence']:.2f}; {votes}" if votes else "   no votes")
    for call in trace.calls:
        presumed = " (presumed)" if call["presumed"] else ""
        outcome = f"reused from {call['reused_from']}" if call["reused_from"] else call["outcome"]
        console.print(
            f"call {call['call_id'][:8]}: {call['purpose']} by {call['tier']}, attempt {call['attempt']}, "
            f"{outcome}, ${call['cost_usd']:f}{presumed}, {call['latency_ms']} ms {call['error']}".rstrip()
        )


def _review(row: Row) -> str:
    """Who said what after the fact, and why they were asked."""
    who = row["reviewer"] or f"someone ({row['label_source']})"
    said = "withdrew their label" if row["label"] is None else f"says {row['label']!r}"
    sure = "" if row["score"] is None else f" at P(correct) {row['score']:.2f}"
    why = f"; sent to {row['selected_by']}{sure}: {row['reason']}" if row["selected_by"] else ""
    return f"reviewed: {who} {said}, {row['given_at']:%Y-%m-%d %H:%M:%S} UTC{why}"
