"""One query's way up its plan: ask, parse, judge, accept or escalate, and say why."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pipeline.cascade.call import Asked, Caller, Rung
from pipeline.cascade.combine import combine
from pipeline.ports.judge import Case, Judge
from pipeline.ports.ledger import Denied
from pipeline.task.length import estimated_tokens, fit, vote
from pipeline.task.mask import mask, unmask
from pipeline.task.parse import Parser
from pipeline.task.prompt import JobPrompt
from schemas.ids import Nano, TierName
from schemas.money import Usage
from schemas.records import Answer, Assignment, Plan, Query, Result, Status, Step, Value, Vote


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every query of a job."""

    prompt: JobPrompt
    parse: Parser
    rungs: Mapping[TierName, Rung]
    judges: Sequence[Judge]
    masked: Sequence[str]  # kinds of personal data
    too_long: str
    max_tokens: int | None
    min_confidence: Mapping[str, float]  # label -> P(correct) below which it is not believed


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    status: Status
    step: Step | None  # whose answer stands
    reason: str


async def walk(
    asking: Asking, caller: Caller, query: Query, assignment: Assignment, plan: Plan, clock: Callable[[], int]
) -> tuple[Result, list[tuple[TierName, Asked]]]:
    """The query's result, and the calls that the ledger does not know (local tiers, reused answers)."""
    steps: list[Step] = []
    off_ledger: list[tuple[TierName, Asked]] = []
    if query.rejected is not None:
        ended = Ended(status="rejected", step=None, reason=query.rejected)
        return _result(query, assignment, plan, steps, ended, clock(), {}), []
    text, restored = mask(query.text, asking.masked) if asking.masked else (query.text, {})
    parts = fit(text, _room(asking, plan), asking.too_long)
    if not parts or not plan.tiers:
        reason = "too long for every allowed tier" if plan.tiers else "no tier is allowed for its category"
        status: Status = "rejected" if plan.tiers else "failed"
        ended = Ended(status=status, step=None, reason=reason)
        return _result(query, assignment, plan, steps, ended, clock(), {}), []
    ended = await _climb(asking, caller, query, plan, parts, steps, off_ledger)
    return _result(query, assignment, plan, steps, ended, clock(), restored), off_ledger


async def _climb(
    asking: Asking,
    caller: Caller,
    query: Query,
    plan: Plan,
    parts: list[str],
    steps: list[Step],
    off_ledger: list[tuple[TierName, Asked]],
) -> Ended:
    for position, name in enumerate(plan.tiers):
        rung = asking.rungs[name]
        if not _fits(rung, parts):
            steps.append(_unasked(name, "the document is too long for this tier"))
            continue
        asked = [await _ask_part(asking, caller, rung, query, part) for part in parts]
        off_ledger += [(name, each) for each in asked if rung.provider.local or each.reused]
        if denied := next((each.denied for each in asked if each.denied), None):
            return _denied(denied, steps)
        step = await _judge(asking, query, rung, asked, steps, plan, position)
        steps.append(step)
        if step.accepted:
            return Ended(status="answered", step=step, reason=step.reason)
    return _exhausted(asking, steps)


async def _ask_part(asking: Asking, caller: Caller, rung: Rung, query: Query, part: str) -> Asked:
    request = asking.prompt.request(
        query.query_id, part, logprobs=rung.logprobs, max_output_tokens=rung.max_output_tokens
    )
    return await caller.ask(rung, request, query.query_id)


async def _judge(
    asking: Asking,
    query: Query,
    rung: Rung,
    asked: list[Asked],
    before: Sequence[Step],
    plan: Plan,
    position: int,
) -> Step:
    answer = vote([_parsed(asking, each) for each in asked])
    completion = next((each.completion for each in asked if each.completion is not None), None)
    votes: tuple[Vote, ...] = ()
    if completion is not None:
        case = Case(query=query, tier=rung.name, answer=answer, completion=completion, before=before)
        said = [await judge.score(case) for judge in asking.judges]
        votes = tuple([vote for vote in said if vote.score is not None])
    confidence = combine(votes, rung.trust) if answer.value is not None else 0.0
    accepted, reason = _verdict(asking, answer, confidence, plan, position)
    return Step(
        tier=rung.name,
        call_id=asked[0].call_id,
        answer=answer,
        votes=votes,
        confidence=confidence,
        accepted=accepted,
        reason=reason,
        cost=Nano(sum(each.cost for each in asked)),
        usage=_sum([each.usage for each in asked]) if len(asked) > 1 else asked[0].usage,
        latency_ms=sum(each.latency_ms for each in asked),
    )


def _parsed(asking: Asking, asked: Asked) -> Answer:
    if asked.completion is None:
        return Answer(value=None, problem=asked.problem)
    return asking.parse(asked.completion)


def _verdict(
    asking: Asking, answer: Answer, confidence: float, plan: Plan, position: int
) -> tuple[bool, str]:
    if answer.value is None:
        return False, answer.problem
    floor = _floor(asking, answer.value)
    if confidence < floor:
        return False, f"confidence {confidence:.2f} below the label's {floor:.2f}"
    if position == len(plan.tiers) - 1:
        return True, "last tier of the plan"
    needed = plan.accept[position]
    if confidence < needed:
        return False, f"confidence {confidence:.2f} below {needed:.2f}"
    return True, f"confidence {confidence:.2f} reaches {needed:.2f}"


def _floor(asking: Asking, value: Value) -> float:
    """The highest `min_confidence` among the labels of an answer."""
    if not asking.min_confidence:
        return 0.0
    labels = value if isinstance(value, list) else [value]
    return max((asking.min_confidence.get(str(label), 0.0) for label in labels), default=0.0)


def _exhausted(asking: Asking, steps: Sequence[Step]) -> Ended:
    """The plan is at its end and no tier was believed."""
    best = _best(steps)
    last = steps[-1]
    top = next((step for step in reversed(steps) if step.call_id is not None), last)  # of those asked
    if top.answer.value is None and top.answer.problem.startswith(
        ("unreachable", "presumed", "rate_limited")
    ):
        return Ended(status="deferred", step=best, reason=f"tier {top.tier} is unavailable: {top.reason}")
    if best is None:
        return Ended(status="failed", step=None, reason=f"no valid answer; {last.tier}: {last.reason}")
    value = best.answer.value
    assert value is not None
    if best.confidence < _floor(asking, value):
        return Ended(status="review", step=best, reason=best.reason)
    return Ended(
        status="answered", step=best, reason=f"no tier above has a valid answer; {last.tier}: {last.reason}"
    )


def _denied(denied: Denied, steps: Sequence[Step]) -> Ended:
    """Money, cancel or halt: the best answer so far is kept."""
    status: Status = "cancelled" if denied.reason == "cancelled" else "deferred"
    reason = f"{denied.reason}: {denied.detail}" if denied.detail else denied.reason
    return Ended(status=status, step=_best(steps), reason=reason)


def _best(steps: Sequence[Step]) -> Step | None:
    """The valid answer with the highest P(correct); the later one among equals."""
    valid = [step for step in steps if step.answer.value is not None]
    return max(reversed(valid), key=lambda step: step.confidence) if valid else None


def _room(asking: Asking, plan: Plan) -> int:
    """Rejected is what no tier can read; cut is to what every tier can."""
    rooms = [asking.rungs[name].room for name in plan.tiers]
    room = (max if asking.too_long == "reject" else min)(rooms, default=0)
    return min(room, asking.max_tokens) if asking.max_tokens else room


def _fits(rung: Rung, parts: list[str]) -> bool:
    return all(len(part) * 4 <= rung.room * 3 or estimated_tokens(part) <= rung.room for part in parts)


def _unasked(name: TierName, why: str) -> Step:
    answer = Answer(value=None, problem=why)
    return Step(tier=name, call_id=None, answer=answer, votes=(), confidence=0.0, accepted=False, reason=why)


def _sum(usages: Sequence[Usage]) -> Usage:
    fields = Usage.__struct_fields__
    return Usage(**{name: sum(getattr(usage, name) for usage in usages) for name in fields})


def _result(
    query: Query,
    assignment: Assignment,
    plan: Plan,
    steps: Sequence[Step],
    ended: Ended,
    now: int,
    restored: dict[str, str],
) -> Result:
    step = ended.step
    return Result(
        query_id=query.query_id,
        status=ended.status,
        value=unmask(step.answer.value, restored) if step else None,
        confidence=step.confidence if step else None,
        tier=step.tier if step else None,
        steps=tuple(steps),
        assignment=assignment,
        plan=plan,
        reason=ended.reason,
        finished_at=now,
    )
