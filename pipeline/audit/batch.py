"""The audit of a job that is to be certified: every drawn row is asked of every tier, then one plan is frozen.

    climb the whole ladder -> what each plan would have made of the rows -> chain from the pilot, test on the audit

Replies are journalled as those of any call, so the rows' own batches get them for nothing, and an audit that is killed
asks again only for what was in flight.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from math import floor
from typing import Any

import msgspec
import numpy as np

from pipeline.audit.ruling import Kind, Ruling, create_ruling
from pipeline.audit.verdicts import Pair, Verdicts
from pipeline.cascade.call import Caller
from pipeline.cascade.rung import Asked, Rung
from pipeline.cascade.walk import is_acceptable, missed_a_tier
from pipeline.certify.bounds import lower_bound
from pipeline.certify.certify import Tested, test_chain
from pipeline.certify.chain import NEVER, build_chain, nested_chain
from pipeline.certify.outcomes import Outcomes, of_tiers
from pipeline.certify.quote import Quote, quote, quote_labels
from pipeline.ports.ledger import Denied
from pipeline.rows import OffLedger, answer_text
from pipeline.task.labels import labels_in
from pipeline.task.mask import mask, unmask
from pipeline.together import together
from pipeline.work import Work
from schemas.ids import Generation, QueryId, TierName
from schemas.job import Quality
from schemas.money import NANO_PER_USD
from schemas.records import Assignment, Completion, Plan, Purpose, Query, Request, Result, Step

Climb = Callable[[Query, Assignment, Plan, list[OffLedger]], Coroutine[Any, Any, Result]]
SMALL = 3  # tiers of a plan, up to which every choice of tiers is looked at


@dataclass(kw_only=True, slots=True, eq=False)
class AuditCaller(Caller):
    """Answers are asked for as an audit, and within it once: on each order of tiers they are the same."""

    denied: Denied | None = field(default=None, init=False)  # the last call that was not allowed
    asks_for: Purpose = "audit"  # what answers are asked for
    sample: int = 0  # of the answers that are asked for
    _known: dict[tuple[object, ...], Asked] = field(default_factory=dict, init=False)

    async def ask(
        self,
        rung: Rung,
        request: Request,
        query_id: QueryId,
        *,
        purpose: Purpose = "answer",
        sample: int = 0,
        usable: Callable[[Completion], bool] = lambda completion: True,
    ) -> Asked:
        sample = sample or (self.sample if purpose == "answer" else 0)
        key = (rung.name, rung.provider.encode(request), query_id, purpose, sample)
        if (known := self._known.get(key)) is not None:
            return known
        asked_as = self.asks_for if purpose == "answer" else purpose
        asked = await Caller.ask(
            self, rung, request, query_id, purpose=asked_as, sample=sample, usable=usable
        )
        asked = msgspec.structs.replace(asked, purpose=asked_as)
        self.denied = asked.denied or self.denied
        if asked.completion is not None:
            self._known[key] = asked
        return asked


async def hold_audit(
    work: Work,
    generation: Generation,
    caller: AuditCaller,
    drawn: Sequence[Query],
    assigned: Sequence[Assignment],
    climb: Climb,
) -> tuple[list[Result], list[OffLedger]]:
    """Ask, test, freeze. Returns what the tiers said on the whole ladder, and the calls that the ledger does not know.
    Raises as the calls do; what it has asked by then costs nothing the next time."""
    rows = rows_of(work, drawn, assigned)
    ladder = tuple(work.asking.rungs)
    off_ledger: list[OffLedger] = []
    asked = await climb_all(work, rows, ladder, climb, off_ledger)
    if caller.denied is None and any(map(missed_a_tier, asked)):
        asked = await climb_all(work, rows, ladder, climb, off_ledger)
    again = await _repeat(work, rows, caller, climb, off_ledger)
    verdicts = Verdicts(work, caller, off_ledger)
    if caller.denied is None:
        await verdicts.hear(_pairs(work, rows, asked, again))
    if caller.denied is not None:
        kind: Kind = "cancelled" if caller.denied.reason == "cancelled" else "unfinished"
        ruling = Ruling(kind=kind, reason=why_unfinished(caller.denied))
    else:
        ruling = _with_repeats(await _judge(work, rows, asked, climb, verdicts), rows, again, verdicts)
    await create_ruling(work.services.storage, work.job, generation, ruling)
    return [*asked, *again], list(_once(off_ledger))


async def give_up_audit(work: Work, generation: Generation, reason: str) -> None:
    await create_ruling(work.services.storage, work.job, generation, Ruling(kind="unfinished", reason=reason))


@dataclass(frozen=True, slots=True)
class Row:
    query: Query
    assignment: Assignment
    restored: dict[str, str]  # what its placeholders stand for

    def said(self, step: Step) -> str | None:
        """The answer, as text in tables."""
        return answer_text(unmask(step.answer.value, self.restored))


def rows_of(work: Work, drawn: Sequence[Query], assigned: Sequence[Assignment]) -> list[Row]:
    masked = work.asking.masked
    return [
        Row(query, each, mask(query.text, masked)[1] if masked else {})
        for query, each in zip(drawn, assigned, strict=True)
    ]


async def climb_all(
    work: Work, rows: Sequence[Row], tiers: Sequence[TierName], climb: Climb, off_ledger: list[OffLedger]
) -> list[Result]:
    """Each row up these tiers, as far as its category allows them, with no answer believed before the last."""

    def plan(row: Row) -> Plan:
        allowed = work.taxonomy.allowed(row.assignment) if work.taxonomy else None
        asked = tuple(tier for tier in tiers if allowed is None or tier in allowed)
        accept = (NEVER,) * len(asked)
        return Plan(tiers=asked, accept=accept, route="ladder", policy_version="audit")

    return await together([climb(row.query, row.assignment, plan(row), off_ledger) for row in rows])


async def _repeat(
    work: Work, rows: Sequence[Row], caller: AuditCaller, climb: Climb, off_ledger: list[OffLedger]
) -> list[Result]:
    """Some audited rows asked of a reference tier once more."""
    use, draw = work.spec.quality, work.manifest.draw
    assert use is not None
    assert draw is not None
    if use.reference == "gold" or not use.repeats:
        return []
    caller.sample = 1
    try:
        chosen = rows[draw.pilot :][: use.repeats]
        return await climb_all(work, chosen, (TierName(use.reference),), climb, off_ledger)
    finally:
        caller.sample = 0


def _pairs(
    work: Work, rows: Sequence[Row], asked: Sequence[Result], again: Sequence[Result]
) -> Iterator[Pair]:
    """Each answer to a drawn row beside what it is held against, the reference's second one too."""
    use = work.spec.quality
    assert use is not None
    known = {row.query.query_id: (row, result) for row, result in zip(rows, asked, strict=True)}
    for result in [*asked, *again]:
        row, first = known[result.query_id]
        reference = _reference(use, row, first)
        for said in map(row.said, result.steps):
            if said is not None and reference is not None:
                yield row.query, row.assignment, said, reference


def _with_repeats(ruling: Ruling, rows: Sequence[Row], again: Sequence[Result], verdicts: Verdicts) -> Ruling:
    known = {row.query.query_id: row for row in rows}
    pairs = [
        (result.query_id, ruling.reference.get(result.query_id), known[result.query_id].said(step))
        for result in again
        for step in result.steps
    ]
    both = [verdicts.alike(*pair) for pair in pairs if pair[1] is not None and pair[2] is not None]
    return msgspec.structs.replace(ruling, repeated=len(both), repeated_alike=sum(both))


async def _judge(
    work: Work, rows: Sequence[Row], asked: Sequence[Result], climb: Climb, verdicts: Verdicts
) -> Ruling:
    """From what the tiers said to the plan that is frozen, where one is asked for."""
    use, draw = work.spec.quality, work.manifest.draw
    assert use is not None
    assert draw is not None
    reference = [_reference(use, row, result) for row, result in zip(rows, asked, strict=True)]
    known = list(zip(rows, asked, reference, strict=True))
    # in free text nothing tells who is right: the judge was asked about other pairs
    gold = [] if work.agreement else [(said, row.query.gold) for row, _, said in known if row.query.gold]
    graded = [said == right for said, right in gold]
    unavailable = [missed_a_tier(result) or row.query.query_id in verdicts.missed for row, result, _ in known]
    measured = Ruling(
        kind="measured",
        reference={row.query.query_id: said for row, _, said in known[draw.pilot :]},
        alike=verdicts.alike_to({row.query.query_id: said for row, _, said in known}),
        judged=verdicts.judged,
        unread=verdicts.unread,
        unavailable=sum(unavailable[draw.pilot :]),
        graded=len(graded),
        right=sum(graded),
    )
    if work.spec.promise is None:
        return measured
    pilot, audit, climbs = [], [], {}
    for tiers in orders_of(tuple(work.asking.rungs)):
        climbed = climbs[tiers] = await climb_all(work, rows, tiers, climb, [])
        outcome = _outcomes(work, rows, tiers, climbed, reference, verdicts)
        pilot.append(_part(outcome, slice(None, draw.pilot)))
        audit.append(_part(outcome, slice(draw.pilot, None)))
    delta = round(1 - use.confidence, 9)
    first = pilot if draw.pilot else audit
    if not draw.audit:
        price = quote(
            first, target=use.bar, population=work.manifest.queries, audit=use.audit, delta=delta,
            comparing=verdicts.cost / NANO_PER_USD / max(len(rows), 1),
        )  # fmt: skip
        if use.per_label is not None:
            plan = (price.wanted or price.offers[0]).candidate
            stops = of_tiers(first, plan.tiers).stops(plan.accept).tolist()
            price = _with_labels(work, price, delta, list(zip(known, climbs[plan.tiers], stops, strict=True)))
        return Ruling(kind="quoted", reason="only its price was asked for", quote=price)
    nested = not draw.pilot and len(work.asking.rungs) == 2
    found = nested_chain(audit[0]) if nested else build_chain(first, use.bar)
    tested = test_chain(found, audit, work.manifest.queries, use.bar, delta, pilot)
    return _ruling(use, measured, tested, pilot)


def _with_labels(
    work: Work,
    price: Quote,
    delta: float,
    known: Sequence[tuple[tuple[Row, Result, str | None], Result, int]],
) -> Quote:
    """And what each label could be certified to under the plan. known: what the reference said of a row, the row on
    the plan's tiers, and where it stops."""
    use, task = work.spec.quality, work.spec.task
    assert use is not None
    answered, agrees, asked = [], [], []
    for (row, _, reference), result, stop in known:
        step = result.steps[stop] if stop < len(result.steps) else None
        labels = labels_in(task, row.said(step)) if step is not None else []
        answered.append(labels)
        agrees.append(set(labels) & set(labels_in(task, reference)))
        asked.append(use.reference == "gold" or (step is not None and step.tier == use.reference))
    offers = quote_labels(
        answered, agrees, asked, population=price.population, drawn=price.drawn, target=use.label_target,
        delta=delta,
    )  # fmt: skip
    return msgspec.structs.replace(price, labels=offers)


def orders_of(tiers: tuple[TierName, ...]) -> list[tuple[TierName, ...]]:
    """The orders that a plan may ask tiers in: the whole ladder, every way up it from some tier on, and every choice
    of a few tiers."""
    suffixes = [tiers[start:] for start in range(len(tiers))]
    few = chain.from_iterable(combinations(tiers, size) for size in range(1, SMALL + 1))
    return list(dict.fromkeys([*suffixes, *few]))


def _reference(use: Quality, row: Row, asked: Result) -> str | None:
    """What the row's answer is held against, as text."""
    if use.reference == "gold":
        return row.query.gold
    step = next((step for step in asked.steps if step.tier == use.reference), None)
    return None if step is None else row.said(step)


def _outcomes(
    work: Work,
    rows: Sequence[Row],
    tiers: tuple[TierName, ...],
    climbed: Sequence[Result],
    reference: Sequence[str | None],
    verdicts: Verdicts,
) -> Outcomes:
    """What n rows did on k tiers. A row for which a tier could not be asked, or the reference has no answer, agrees
    nowhere."""
    shape = (len(rows), len(tiers))
    confidence, cost = np.full(shape, -np.inf), np.zeros(shape)
    agrees = np.zeros((shape[0], shape[1] + 1), dtype=np.bool_)
    place = {tier: position for position, tier in enumerate(tiers)}
    for at, (row, result, said) in enumerate(zip(rows, climbed, reference, strict=True)):
        for step in result.steps:
            position = place[step.tier]
            cost[at, position] = (step.cost + step.judging) / NANO_PER_USD
            if is_acceptable(work.asking, step):
                confidence[at, position] = step.confidence
        if said is None or missed_a_tier(result):
            continue
        for step in result.steps:
            agrees[at, place[step.tier]] = verdicts.alike(row.query.query_id, row.said(step), said)
        stands = answer_text(result.value) if result.status == "answered" else None
        agrees[at, -1] = verdicts.alike(row.query.query_id, stands, said)
    return Outcomes(tiers=tiers, confidence=confidence, agrees=agrees, cost=cost)


def _part(outcomes: Outcomes, rows: slice) -> Outcomes:
    return Outcomes(
        tiers=outcomes.tiers,
        confidence=outcomes.confidence[rows],
        agrees=outcomes.agrees[rows],
        cost=outcomes.cost[rows],
    )


def _ruling(use: Quality, measured: Ruling, tested: Tested, pilot: Sequence[Outcomes]) -> Ruling:
    best = _certain(tested, pilot)
    ruling = msgspec.structs.replace(measured, kind="planned", tested=tested, best=best)
    if tested.chosen is not None:
        return ruling
    reason = _why_infeasible(use, tested, best)
    if measured.unavailable:
        reason = f"{measured.unavailable} audited rows could not be asked of every tier; {reason}"
        return msgspec.structs.replace(ruling, kind="unfinished", reason=reason)
    return msgspec.structs.replace(ruling, kind="infeasible", reason=reason)


def _certain(tested: Tested, pilot: Sequence[Outcomes]) -> float:
    """Share of all rows that the first plan of the chain agrees on at least: it was named before the audit was opened,
    so its bound holds by itself."""
    first = tested.tests[0]
    known, _ = of_tiers(pilot, first.candidate.tiers).run(first.candidate.accept)
    rest = tested.population - len(known)
    share = lower_bound(first.agreeing, first.drawn, rest, tested.delta)
    return (share * rest + int(known.sum())) / tested.population


def _why_infeasible(use: Quality, tested: Tested, best: float) -> str:
    promise = f"{tested.target:.1%} agreement with {use.reference} can not be certified"
    first = tested.tests[0]
    lower = floor((best - use.off_plan) * 1000) / 1000
    return (
        f"{promise}: the surest plan ({' > '.join(first.candidate.tiers)}) agrees on {first.agreeing} of "
        f"{first.drawn} audited rows, at confidence {use.confidence:.0%} on {best:.1%} of all. "
        f"Ask for at most {lower:.1%}, draw more rows, or put a better tier on the ladder."
    )


def why_unfinished(denied: Denied) -> str:
    why = f"{denied.reason}: {denied.detail}" if denied.detail else denied.reason
    return f"the audit could not be asked to its end ({why})"


def _once(off_ledger: Sequence[OffLedger]) -> Iterator[OffLedger]:
    """A row that was put to the ladder again has its calls in here twice."""
    yield from {each.asked.call_id: each for each in off_ledger}.values()
