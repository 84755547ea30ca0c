"""Near-duplicates, where the spec asks for them: a copy of another query's answer, which says whose."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from pipeline.cascade.rung import Asked
from pipeline.history.past import Former, Twin
from pipeline.rows import OffLedger
from pipeline.work import Progress, Work
from schemas.ids import CallId, TierName
from schemas.records import Answer, Assignment, Completion, Plan, Query, Result, Step, Value

Ask = Callable[[Sequence[int]], Awaitable[list[Result]]]  # rows of the batch


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that is copied."""

    name: str
    value: Value
    confidence: float
    tier: TierName
    call_id: CallId
    model: str


async def copied_or_asked(
    work: Work,
    queries: Sequence[Query],
    assigned: Sequence[Assignment],
    plans: Sequence[Plan],
    ask: Ask,
    progress: Progress,
) -> tuple[list[Result], list[OffLedger]]:
    """Queries that are like no other are asked; the others get a copy, or are asked where there is none."""
    twins = await asyncio.to_thread(_twins_of, work, queries)
    unlike = [row for row in range(len(queries)) if row not in twins]
    results = dict(zip(unlike, await ask(unlike), strict=True))
    copies = []
    for row, twin in twins.items():
        if copy := _copied(work, queries[row], assigned[row], plans[row], twin, results):
            results[row] = copy[0]
            copies.append(copy[1])
            progress(copy[0])
    if rest := [row for row in twins if row not in results]:
        results.update(zip(rest, await ask(rest), strict=True))
    return [results[row] for row in range(len(queries))], copies


def _twins_of(work: Work, queries: Sequence[Query]) -> dict[int, Twin]:
    threshold = work.spec.history.near_duplicates
    return work.past.twins(queries, threshold) if work.past is not None and threshold is not None else {}


def _copied(
    work: Work,
    query: Query,
    assignment: Assignment,
    plan: Plan,
    twin: Twin,
    results: dict[int, Result],
) -> tuple[Result, OffLedger] | None:
    """None where there is no answer to copy."""
    source = _former(work, twin.of) if isinstance(twin.of, Former) else _leader(work, results[twin.of])
    if source is None:
        return None
    services = work.services
    asked = Asked(
        completion=None, call_id=services.new_id(), sent_at=services.clock(), reused_from=source.call_id
    )
    reason = f"near-duplicate of {source.name} (cosine {twin.cosine:.2f})"
    step = Step(
        tier=source.tier,
        call_id=asked.call_id,
        answer=Answer(value=source.value, confidence=source.confidence),
        votes=(),
        confidence=source.confidence,
        accepted=True,
        reason=reason,
    )
    result = Result(
        query_id=query.query_id,
        status="answered",
        value=source.value,
        confidence=source.confidence,
        tier=source.tier,
        steps=(step,),
        assignment=assignment,
        plan=plan,
        reason=reason,
        finished_at=services.clock(),
    )
    return result, OffLedger(query_id=query.query_id, tier=source.tier, asked=asked, model=source.model)


def _leader(work: Work, result: Result) -> _Source | None:
    """Of the same batch."""
    step = next((step for step in result.steps if step.tier == result.tier), None)
    if result.status != "answered" or result.value is None or step is None or step.call_id is None:
        return None
    return _Source(
        name=result.query_id,
        value=result.value,
        confidence=step.confidence,
        tier=step.tier,
        call_id=step.call_id,
        model=work.asking.rungs[step.tier].provider.model,
    )


def _former(work: Work, former: Former) -> _Source | None:
    """Of a closed job."""
    value = work.asking.parse(Completion(text=former.answer, finish_reason="stop")).value
    if value is None:
        return None
    return _Source(
        name=f"{former.query_id} of {former.job}",
        value=value,
        confidence=former.confidence or 0.0,
        tier=former.tier,
        call_id=former.call_id,
        model=former.model,
    )
