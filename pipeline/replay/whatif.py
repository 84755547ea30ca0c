"""What if: a closed job decided again under other thresholds, tiers or another policy, from the answers it paid for.

Policy, plan, judges' weights and the rule that accepts an answer are the live ones; no call is made. A query that would
ask a tier which it never asked has no answer here; it is counted, and bounds the figures.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.audit.drawn import read_drawn
from pipeline.audit.ruling import read_ruling
from pipeline.cascade.bench import Judging
from pipeline.cascade.pace import Pace
from pipeline.cascade.rung import Rung
from pipeline.cascade.walk import Asking, walk
from pipeline.combiner import read_combiner
from pipeline.ports.policy import Policy
from pipeline.ports.provider import Provider
from pipeline.ports.storage import Storage
from pipeline.replay.paid import NotAsked, Paid, PaidCaller, bought, paid_judging, read_paid, reader_of
from pipeline.router.policies import SCORINGS
from pipeline.rows import answer_text
from pipeline.task.prompt import build_prompt
from pipeline.taxonomy.classify import Taxonomy
from pipeline.taxonomy.tree import ROOT
from pipeline.wiring.policies import POLICIES, build_learner, build_policy, build_taxonomy
from pipeline.wiring.work import choices_of
from schemas import lake, manifest
from schemas.errors import InputError, JobNotClosed, NoSuchObject
from schemas.ids import Generation, JobId, TierName
from schemas.job import ClassifyTask, JobSpec, Tier
from schemas.manifest import Manifest
from schemas.money import nano_to_usd
from schemas.records import Assignment, Pin, Plan, Query, Result

_ENDLESS = 10**9  # room of a tier: what it could read is on record


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be otherwise."""

    accept: Mapping[str, float] = {}  # tier -> P(correct) from which it is believed
    tiers: Sequence[str] = ()  # the ladder; empty: the job's
    policy: str | None = None  # NAME or NAME@VERSION; None: the job's


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One query, decided again."""

    query_id: str
    before: str | None  # answers as text
    after: str | None
    gold: str | None
    status: str
    tier: str | None  # whose answer stands
    cost: int  # nano-dollars; where a tier was not asked, up to there
    missing: str | None = None  # the tier whose answer is not on record; what follows is then not known
    rest: tuple[str, ...] = ()  # of the plan, from there on


async def what_if(
    storage: Storage, connection: DuckDBPyConnection, job: JobId, change: Change, limit: int = 20
) -> dict[str, Any]:
    """The job as it was and as it would be: all its rows, and where there was an audit its drawn rows, of which every
    tier was asked. Raises JobNotClosed, InputError."""
    row = connection.execute("SELECT generation, cap_usd FROM jobs WHERE job = $job", {"job": job}).fetchone()
    if row is None:
        raise JobNotClosed(job=job, state="not closed yet, or not in this lake")
    pinned = manifest.decode(await storage.read(lake.manifest(job)))
    paid = read_paid(connection, job)
    as_it_was = await _frozen(storage, pinned, Generation(row[0]))
    spec = _changed(as_it_was, change)
    outcomes = await _decide(storage, pinned, spec, paid, float(row[1]))
    drawn = {query.query_id for query in await read_drawn(storage, job)} if pinned.draw else set()
    return {
        "job": job,
        "change": {name: each for name, each in msgspec.to_builtins(change).items() if each},
        **_figures(paid, outcomes, None),
        "drawn": _figures(paid, outcomes, drawn) if drawn else None,
        "answers": _flips(outcomes, limit),
    }


async def _frozen(storage: Storage, pinned: Manifest, generation: Generation) -> JobSpec:
    """The spec, with the plan that an audit froze as its ladder."""
    spec = pinned.job_spec()
    ruling = None if spec.quality is None else await read_ruling(storage, pinned.job, generation)
    if ruling is None or ruling.plan is None:
        return spec
    tiers = [
        spec.tier(name).model_copy(update={"accept": accept})
        for name, accept in zip(ruling.plan.tiers, ruling.plan.accept, strict=True)
    ]
    policy = spec.policy.model_copy(update={"name": "fixed-ladder"})
    return spec.model_copy(update={"tiers": tiers, "policy": policy, "quality": None})


def _changed(spec: JobSpec, change: Change) -> JobSpec:
    known = {tier.name: tier for tier in spec.tiers}
    for name in (*change.tiers, *change.accept):
        if name not in known:
            raise InputError(
                path=name, why="it is no tier of the job's plan", fix=f"One of {', '.join(known)}."
            )
    ladder: list[Tier] = [known[name] for name in change.tiers or known]
    update: dict[str, Any] = {
        "tiers": [
            tier.model_copy(update={"accept": change.accept[tier.name]})
            if tier.name in change.accept
            else tier
            for tier in ladder
        ]
    }
    if change.policy is not None:
        name = change.policy.partition("@")[0]
        if name not in POLICIES:
            why, fix = f"{name!r} is no policy", f"One of {', '.join(POLICIES)}."
            raise InputError(path="--policy", why=why, fix=fix)
        alpha = spec.policy.alpha if spec.policy.kind == name else None
        update["policy"] = spec.policy.model_copy(update={"name": change.policy, "alpha": alpha})
        update["quality"] = None
    return spec.model_copy(update=update)


async def _decide(
    storage: Storage, pinned: Manifest, spec: JobSpec, paid: Paid, cap_usd: float
) -> list[Outcome]:
    """Batch by batch, as they ran."""
    taxonomy = build_taxonomy(spec)
    open_: set[str] = set()
    judging = paid_judging(spec, paid, await read_combiner(storage, pinned.combiner), open_)
    asking = _asking(spec, taxonomy, judging)
    batches: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in paid.rows:
        batches[row["asked_in"], row["batch"]].append(row)
    policies = _Policies(storage, pinned, spec, paid, taxonomy, cap_usd / max(1, len(paid.rows)))
    outcomes = []
    for place, rows in batches.items():
        queries = [paid.queries[row["query_id"]] for row in rows]
        assigned = _assigned(taxonomy, queries, rows)
        policy, pin = await policies.of(paid.pins.get(place))
        for row, query, where, plan in zip(
            rows, queries, assigned, policy.plan(queries, assigned, pin), strict=True
        ):
            caller = PaidCaller(paid, query.query_id, open_)
            try:
                result, _ = await walk(asking, caller.as_caller, query, where, plan, lambda: 0)
            except NotAsked:
                result = None
            unsure = query.query_id in open_
            heard = bought(judging, query.query_id)
            outcomes.append(_outcome(paid, row, query, plan, caller.asked, None if unsure else result, heard))
    return outcomes


class _Policies:
    """What plans: the job's own version batch by batch, or another in its place."""

    def __init__(
        self,
        storage: Storage,
        pinned: Manifest,
        spec: JobSpec,
        paid: Paid,
        taxonomy: Taxonomy | None,
        usd_per_query: float,
    ) -> None:
        self._usd = usd_per_query
        self._same = spec.policy.name == pinned.job_spec().policy.name
        self._fixed = (
            build_policy(spec, taxonomy, pinned.prices) if spec.policy.kind not in SCORINGS else None
        )
        if self._fixed is None:
            self._learner = build_learner(storage, spec, taxonomy, pinned, paid.models)

    async def of(self, pin: Pin | None) -> tuple[Policy, Pin]:
        if self._fixed is not None:
            return self._fixed, Pin(policy_version=self._fixed.version)
        try:
            if self._same and pin is not None and pin.policy_version.startswith(f"{self._learner.policy}@"):
                return await self._learner.at(pin.policy_version), pin
            policy = await self._learner.standing()
        except NoSuchObject:
            fix = "`tierwise policy history` lists the versions."
            raise InputError(path="--policy", why="there is no such version", fix=fix) from None
        price = policy.price_of_money(self._usd)
        return policy, Pin(
            policy_version=policy.version, price_of_money=price, seed=pin.seed if pin is not None else 0
        )


class _Still(msgspec.Struct, frozen=True):
    """In the place of a provider and its pace."""

    local: bool = False
    skips: bool = False


def _asking(spec: JobSpec, taxonomy: Taxonomy | None, judging: Judging) -> Asking:
    labels = spec.task.labels if isinstance(spec.task, ClassifyTask) else []
    rungs = {
        TierName(tier.name): Rung(
            name=TierName(tier.name),
            provider=cast(Provider, _Still()),
            pace=cast(Pace, _Still(skips=getattr(tier, "when_down", "wait") == "skip")),
            trust=tier.trust,
            retries=0,
            logprobs=False,
            max_output_tokens=None,
            room=_ENDLESS,
        )
        for tier in spec.tiers
    }
    return Asking(
        prompt=build_prompt(spec.task),
        parse=reader_of(spec.task),
        rungs=rungs,
        judging=judging,
        masked=spec.task.mask,
        too_long="reject",
        max_tokens=None,
        choices=choices_of(spec.task),
        min_confidence={label.name: label.min_confidence for label in labels if label.min_confidence},
        allowed=taxonomy.allowed if taxonomy else lambda assignment: None,
    )


def _assigned(
    taxonomy: Taxonomy | None, queries: Sequence[Query], rows: Sequence[Mapping[str, Any]]
) -> list[Assignment]:
    """As the job categorised them: where a slow classifier had the last word, its word."""
    if taxonomy is None:
        return [ROOT] * len(queries)
    return [
        found
        if row["category"] is None or row["category"] == found.category
        else Assignment(
            category=row["category"], score=row["score"], familiar=row["familiar"], source=row["source"],
            guards=found.guards,
        )
        for found, row in zip(taxonomy.classify(queries), rows, strict=True)
    ]  # fmt: skip


def _outcome(
    paid: Paid,
    row: Mapping[str, Any],
    query: Query,
    plan: Plan,
    asked: Sequence[TierName],
    result: Result | None,
    heard: bool,
) -> Outcome:
    name = query.query_id
    cost = sum(paid.costs.get((name, tier), 0) for tier in asked) + paid.routing.get(name, 0)
    cost += paid.judging.get(name, 0) if heard else 0
    same: dict[str, Any] = {"query_id": name, "before": row["answer"], "gold": query.gold, "cost": cost}
    if result is None:
        missing = asked[-1]
        on_record = (name, missing) in paid.answers
        rest = plan.tiers[plan.tiers.index(missing) + on_record :]
        return Outcome(**same, after=None, status="unknown", tier=None, missing=missing, rest=rest)
    return Outcome(**same, after=answer_text(result.value), status=result.status, tier=result.tier)


def _figures(paid: Paid, outcomes: Sequence[Outcome], only: Collection[str] | None) -> dict[str, Any]:
    """Of all rows, or of these."""
    kept = [each for each in outcomes if only is None or each.query_id in only]
    return {"queries": len(kept), "before": _before(paid, kept), "after": _after(paid, kept)}


def _before(paid: Paid, kept: Sequence[Outcome]) -> dict[str, Any]:
    names = {each.query_id for each in kept}
    rows = [row for row in paid.rows if row["query_id"] in names]
    walked = [(name, tier) for (name, tier) in paid.answers if (name, tier) not in paid.audited]
    cost = sum(paid.costs.get(key, 0) for key in walked if key[0] in names)
    cost += sum(paid.judging.get(name, 0) + paid.routing.get(name, 0) for name in names)
    graded, correct = _right([(each.before, each.gold) for each in kept])
    return {
        "cost_usd": nano_to_usd(cost),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "tiers": dict(Counter(row["tier"] for row in rows if row["status"] == "answered")),
        "graded": graded,
        "correct": correct,
        "accuracy": correct / graded if graded else None,
    }


def _after(paid: Paid, kept: Sequence[Outcome]) -> dict[str, Any]:
    known = [each for each in kept if each.missing is None]
    unknown = [each for each in kept if each.missing is not None]
    graded, correct = _right([(each.after, each.gold) for each in known])
    open_ = sum(each.gold is not None for each in unknown)
    low, high = _bill(paid, kept)
    return {
        "replayed": len(known),
        "not_replayable": dict(Counter(each.missing for each in unknown)),  # by the tier that was not asked
        "cost_low_usd": low,
        "cost_high_usd": high,
        "statuses": dict(Counter(each.status for each in known)),
        "tiers": dict(Counter(each.tier for each in known if each.status == "answered")),
        "graded": graded,
        "correct": correct,
        "accuracy_low": correct / (graded + open_) if graded + open_ else None,
        "accuracy_high": (correct + open_) / (graded + open_) if graded + open_ else None,
        "changed": sum(each.before != each.after for each in known),
        "now_right": sum(each.after == each.gold != each.before for each in known if each.gold is not None),
        "now_wrong": sum(each.before == each.gold != each.after for each in known if each.gold is not None),
    }


def _bill(paid: Paid, kept: Sequence[Outcome]) -> tuple[Decimal, Decimal | None]:
    """At least, and at most: a query that cannot be replayed goes on at the mean price of the next tier of its plan, or
    of all that are left. No upper end where the job asked one of these of no query."""
    means = {tier: paid.mean(tier) for each in kept for tier in each.rest}
    low = high = float(sum(each.cost for each in kept))
    for each in kept:
        prices = [means[tier] or 0.0 for tier in each.rest]
        if each.rest and each.rest[0] == each.missing:
            low += prices[0]
        high += sum(prices)
    endless = any(mean is None for mean in means.values())
    return nano_to_usd(round(low)), None if endless else nano_to_usd(round(high))


def _right(rows: Sequence[tuple[str | None, str | None]]) -> tuple[int, int]:
    """Of answers beside their gold: how many are graded, how many of these are right."""
    graded = [(answer, gold) for answer, gold in rows if answer is not None and gold is not None]
    return len(graded), sum(answer == gold for answer, gold in graded)


def _flips(outcomes: Sequence[Outcome], limit: int) -> list[dict[str, Any]]:
    """Answers that would be others, those with gold first."""
    changed = [each for each in outcomes if each.missing is None and each.before != each.after]
    changed.sort(key=lambda each: (each.gold is None, each.query_id))
    return [
        {name: getattr(each, name) for name in ("query_id", "before", "after", "gold", "tier")}
        for each in changed[:limit]
    ]
