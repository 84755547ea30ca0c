"""One query's way up its plan: ask, parse, judge, accept or escalate, and say why."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from pipeline.cascade.bench import Allowed, Bench, Heard, Judging
from pipeline.cascade.call import Caller
from pipeline.cascade.combine import standing
from pipeline.cascade.fuse import fuse
from pipeline.cascade.rung import Asked, Rung
from pipeline.ports.ledger import Denied
from pipeline.task.length import estimated_tokens, fit, vote
from pipeline.task.mask import mask, unmask
from pipeline.task.parse import Parser
from pipeline.task.prompt import JobPrompt
from schemas.ids import Nano, TierName
from schemas.money import Usage
from schemas.records import (
    Answer,
    Assignment,
    Completion,
    Plan,
    Query,
    Request,
    Result,
    Status,
    Step,
    Value,
)


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every query of a job."""

    prompt: JobPrompt
    parse: Parser
    rungs: Mapping[TierName, Rung]
    judging: Judging
    masked: Sequence[str]  # kinds of personal data
    too_long: str
    max_tokens: int | None
    min_confidence: Mapping[str, float]  # label -> P(correct) below which it is not believed
    allowed: Allowed = lambda assignment: None  # tiers that may see a query of that category; None: all
    choices: int = 2  # answers there could be
    rooms: dict[tuple[TierName, ...], int] = {}  # of the ladders met so far

    def parses(self, completion: Completion) -> bool:
        return self.parse(completion).value is not None


NOT_HEARD = Heard(votes=(), confidence=0.0, cost=Nano(0))
UNAVAILABLE = ("unreachable", "presumed", "rate_limited", "parked", "never sent")


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    status: Status
    step: Step | None  # whose answer stands
    reason: str


class Gate(Protocol):
    """What stands before each call of a query while money may not suffice."""

    async def turn(
        self, query: Query, plan: Plan, position: int, parts: list[str], steps: list[Step]
    ) -> Denied | None: ...


async def walk(
    asking: Asking,
    caller: Caller,
    query: Query,
    assignment: Assignment,
    plan: Plan,
    clock: Callable[[], int],
    gate: Gate | None = None,
) -> tuple[Result, list[tuple[TierName, Asked]]]:
    """The query's result, and the calls that the ledger does not know (local tiers, reused answers)."""
    steps: list[Step] = []
    off_ledger: list[tuple[TierName, Asked]] = []
    if query.rejected is not None:
        ended = Ended(status="rejected", step=None, reason=query.rejected)
        return _result(query, assignment, plan, steps, ended, clock(), {}), []
    text, restored = mask(query.text, asking.masked) if asking.masked else (query.text, {})
    parts = parts_of(asking, plan, text)
    if not parts or not plan.tiers:
        reason = "too long for every allowed tier" if plan.tiers else "no tier is allowed for its category"
        status: Status = "rejected" if plan.tiers else "failed"
        ended = Ended(status=status, step=None, reason=reason)
        return _result(query, assignment, plan, steps, ended, clock(), {}), []
    allowed = partial(asking.allowed, assignment)
    bench = Bench(asking.judging, asking.rungs, caller, query, "".join(parts), allowed, off_ledger)
    ended = await _climb(asking, caller, query, plan, parts, steps, off_ledger, gate, bench)
    ended = _fused(asking, plan, steps, ended) if plan.fuses else ended
    return _result(query, assignment, plan, steps, ended, clock(), restored), off_ledger


async def _climb(
    asking: Asking,
    caller: Caller,
    query: Query,
    plan: Plan,
    parts: list[str],
    steps: list[Step],
    off_ledger: list[tuple[TierName, Asked]],
    gate: Gate | None,
    bench: Bench,
) -> Ended:
    while (position := len(steps)) < len(plan.tiers):
        name = plan.tiers[position]
        rung = asking.rungs[name]
        if not _fits(rung, parts):
            steps.append(_unasked(name, "the document is too long for this tier"))
            continue
        if gate is not None and (short := await gate.turn(query, plan, position, parts, steps)):
            return _denied(short, steps)
        asked = []
        for part in parts:
            request = request_of(asking, rung, query, part)
            asked.append(await caller.ask(rung, request, query.query_id, usable=asking.parses))
        off_ledger += [(name, each) for each in asked if rung.provider.local or each.reused]
        if denied := [each.denied for each in asked if each.denied]:
            return _denied(denied[0], steps)
        step = await _judge(asking, bench, rung, asked, steps, plan, position)
        plan, step = _replanned(asking, plan, [*steps, step])
        steps.append(step)
        if step.accepted:
            stands = step if step.replanned is None else _best(steps)
            return Ended(status="answered", step=stands, reason=step.reason)
        if not rung.pace.skips and any(each.parked for each in asked):
            return _unavailable(steps, step)
    return _exhausted(asking, steps)


def request_of(asking: Asking, rung: Rung, query: Query, part: str) -> Request:
    return asking.prompt.request(
        query.query_id,
        part,
        logprobs=rung.logprobs,
        max_output_tokens=rung.max_output_tokens,
        examples=query.examples,
    )


async def _judge(
    asking: Asking,
    bench: Bench,
    rung: Rung,
    asked: list[Asked],
    before: Sequence[Step],
    plan: Plan,
    position: int,
) -> Step:
    answer = vote([_parsed(asking, each) for each in asked])
    whole = asked[0] if len(asked) == 1 else _joined(asked)
    heard = NOT_HEARD
    if whole.completion is not None:
        needed = _needed(asking, answer, plan, position)
        heard = await bench.hear(rung, answer, whole.completion, before, needed)
    accepted, reason = _verdict(asking, answer, heard.confidence, plan, position)
    return Step(
        tier=rung.name,
        call_id=whole.call_id,
        answer=answer,
        votes=heard.votes,
        confidence=heard.confidence,
        accepted=accepted,
        reason=reason,
        cost=whole.cost,
        judging=heard.cost,
        missed=heard.missed,
        usage=whole.usage,
        latency_ms=whole.latency_ms,
        agreement=asking.judging.combiner.of("agreement"),
    )


def _joined(asked: Sequence[Asked]) -> Asked:
    """The parts of a document as one: any completion of theirs, what they cost together."""
    fields = Usage.__struct_fields__
    return msgspec.structs.replace(
        asked[0],
        completion=next((each.completion for each in asked if each.completion is not None), None),
        cost=Nano(sum(each.cost for each in asked)),
        usage=Usage(**{name: sum(getattr(each.usage, name) for each in asked) for name in fields}),
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


def _needed(asking: Asking, answer: Answer, plan: Plan, position: int) -> float:
    """P(correct) from which the answer will stand; 0 where it stands anyway."""
    floor = 0.0 if answer.value is None else _floor(asking, answer.value)
    return floor if position == len(plan.tiers) - 1 else max(floor, plan.accept[position])


def _replanned(asking: Asking, plan: Plan, steps: Sequence[Step]) -> tuple[Plan, Step]:
    """The plan as its policy changes it in the light of the answers, and the last step as that plan judges it."""
    step = steps[-1]
    if plan.onward is None or step.answer.value is None:
        return plan, step
    tiers = [each.tier for each in steps]
    stands = fuse(steps, asking.choices, plan.voices)
    assert stands is not None
    changed = plan.onward.replan(plan, tiers, step.confidence, stands.confidence)
    if changed is plan:
        return plan, step
    accepted, reason = _verdict(asking, step.answer, step.confidence, changed, len(steps) - 1)
    onward = changed.tiers[len(steps) : changed.planned]
    told = f"then {', '.join(onward)}" if onward else "no further call is worth its cost"
    changes = {"accepted": accepted, "reason": f"{reason}; replanned: {told}", "replanned": onward}
    return changed, msgspec.structs.replace(step, **changes)


def _fused(asking: Asking, plan: Plan, steps: Sequence[Step], ended: Ended) -> Ended:
    """What the vote makes of an end. It puts no answer below its label's floor in the place of one that stood."""
    fused = fuse(steps, asking.choices, plan.voices)
    if fused is None or ended.step is None or len(fused.voices) + len(fused.against) == 1:
        return ended
    value = fused.step.answer.value
    assert value is not None
    believed = fused.confidence >= _floor(asking, value)
    if ended.status == "answered" and not believed:
        return ended
    return Ended(
        status="answered" if ended.status == "review" and believed else ended.status,
        step=msgspec.structs.replace(fused.step, confidence=fused.confidence),
        reason=f"{ended.reason}; {fused.told}",
    )


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
    top = next((step for step in reversed(steps) if step.call_id or _is_unavailable(step)), last)
    if _is_unavailable(top):
        return _unavailable(steps, top)
    if best is None:
        return Ended(status="failed", step=None, reason=f"no valid answer; {last.tier}: {last.reason}")
    value = best.answer.value
    assert value is not None
    if best.confidence < _floor(asking, value):
        return Ended(status="review", step=best, reason=best.reason)
    return Ended(
        status="answered", step=best, reason=f"no tier above has a valid answer; {last.tier}: {last.reason}"
    )


def _is_unavailable(step: Step) -> bool:
    return step.answer.value is None and step.answer.problem.startswith(UNAVAILABLE)


def missed_a_tier(result: Result) -> bool:
    """Whether a tier could not be asked, for an answer or by a judge, and the query went on without it or ended."""
    return any(_is_unavailable(step) or bool(step.missed) for step in result.steps)


def is_acceptable(asking: Asking, step: Step) -> bool:
    """Whether it only takes a low enough threshold for the answer to be believed."""
    value = step.answer.value
    return value is not None and step.confidence >= _floor(asking, value)


def _unavailable(steps: Sequence[Step], step: Step) -> Ended:
    reason = f"tier {step.tier} is unavailable: {step.reason}"
    return Ended(status="deferred", step=_best(steps), reason=reason)


def _denied(denied: Denied, steps: Sequence[Step]) -> Ended:
    """Money, cancel or halt: the best answer so far is kept."""
    status: Status = "cancelled" if denied.reason == "cancelled" else "deferred"
    reason = f"{denied.reason}: {denied.detail}" if denied.detail else denied.reason
    return Ended(status=status, step=_best(steps), reason=reason)


def _best(steps: Sequence[Step]) -> Step | None:
    """The valid answer with the highest P(correct) in the light of all; the later one among equals."""
    stands = list(zip(standing(steps), steps, strict=True))
    valid = [pair for pair in stands if pair[1].answer.value is not None]
    return max(reversed(valid), key=lambda pair: pair[0])[1] if valid else None


def parts_of(asking: Asking, plan: Plan, text: str) -> list[str]:
    """The document as its tiers can read it; empty: too long."""
    return fit(text, _room(asking, plan), asking.too_long)


def _room(asking: Asking, plan: Plan) -> int:
    """Rejected is what no tier can read; cut is to what every tier can."""
    room = asking.rooms.get(plan.tiers)
    if room is None:
        rooms = [asking.rungs[name].room for name in plan.tiers]
        room = (max if asking.too_long == "reject" else min)(rooms, default=0)
        room = asking.rooms[plan.tiers] = min(room, asking.max_tokens) if asking.max_tokens else room
    return room


def _fits(rung: Rung, parts: list[str]) -> bool:
    return all([len(part) * 4 <= rung.room * 3 or estimated_tokens(part) <= rung.room for part in parts])


def _unasked(name: TierName, why: str) -> Step:
    answer = Answer(value=None, problem=why)
    return Step(tier=name, call_id=None, answer=answer, votes=(), confidence=0.0, accepted=False, reason=why)


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
