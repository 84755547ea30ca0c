"""One batch, top to bottom. Read this file first.

    take the lease -> read the queries -> categorise -> encode -> plan -> every query walks its plan -> write parts
    -> commit

The lease is a right to commit, not to spend: holds and settlements go through the ledger call by call, so a
batch that is killed, yields or is delivered twice asks again only for what has no journalled reply.
"""

import asyncio
import dataclasses
import io
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Literal, TypeVar

import msgspec
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.audit.batch import AuditCaller, give_up_audit, hold_audit
from pipeline.audit.drawn import read_drawn
from pipeline.audit.ruling import Ruling, labels_batch, ready_batches
from pipeline.audit.stratified import draw_labels, hold_labels, wanted_labels, write_labels
from pipeline.cascade.bench import Judging
from pipeline.cascade.call import Caller
from pipeline.cascade.holder import CONCERNS_THE_BATCH, Yielded
from pipeline.cascade.purse import Purse
from pipeline.cascade.walk import missed_a_tier, walk
from pipeline.categorise import categorised
from pipeline.copies import copied_or_asked
from pipeline.encode import encoded
from pipeline.heartbeat import heartbeat
from pipeline.monitoring.batch_log import say_committed, say_trouble
from pipeline.monitoring.logs import QUERY, about
from pipeline.monitoring.tally import Count, asked_of, noting
from pipeline.ports.ledger import CallRow
from pipeline.rows import OffLedger, batch_tables, read_documents, totals_of
from pipeline.shortage import purse_of, usd_per_query
from pipeline.storage.commits import create_commit
from pipeline.storage.final import write_part
from pipeline.taxonomy.tree import ROOT
from pipeline.together import together
from pipeline.work import Progress, Work
from schemas import lake
from schemas.errors import LakeUnreachable, LeaseLost, NoSuchObject
from schemas.ids import BatchIndex, Generation
from schemas.records import Assignment, Commit, Lease, Pin, Plan, Query, Result, Status

C = TypeVar("C", bound=Caller)
log = logging.getLogger("tierwise.flow")
# early: the plan it is to run under is not frozen yet
Taken = Literal["committed", "leased", "closed", "unknown", "yielded", "lost", "early"]


async def take_batch(
    work: Work, generation: Generation, batch: BatchIndex, progress: Progress | None = None
) -> tuple[Taken, int | None]:
    """Run a batch if it is ours to run. Returns what became of it and, when it was committed, how many are left."""
    place: dict[str, str | int] = {"job": work.job, "generation": generation, "batch": batch}
    with about(**place), work.services.tracer.span("batch", **place) as span:
        taken, left = await _take(work, generation, batch, progress)
        span.set(taken=taken)
    return taken, left


async def _take(
    work: Work, generation: Generation, batch: BatchIndex, progress: Progress | None
) -> tuple[Taken, int | None]:
    services, commit = work.services, None
    ledger = services.ledger
    if batch not in await may_begin(work, generation, [batch]):
        return "early", None
    pin, now = await _pin(work, generation, batch), services.clock()
    lease = await ledger.lease_batch(
        work.job, generation, batch, owner=services.owner, pin=pin, now=now, ttl_ms=services.timing.lease
    )
    if not isinstance(lease, Lease):
        return lease, None
    try:
        if not await _has_commit(work, lease):
            commit = await run_batch(work, lease, now, progress)
            if commit is None:
                await ledger.release(lease)
                return "yielded", None
    except LeaseLost:
        return "lost", None
    except LakeUnreachable:  # an outage is no poison: the next holder starts afresh
        await ledger.release(lease)
        raise
    left = await ledger.commit_batch(work.job, generation, batch)
    say_committed(f"{work.job}/{generation}/{batch}", commit, (services.clock() - now) / 1000)
    return "committed", left


async def may_begin(work: Work, generation: Generation, batches: Sequence[BatchIndex]) -> list[BatchIndex]:
    """Those of the batches that may run now: while the plan of a job that is to be certified is open, its audit; the
    labels' last."""
    certifies = work.manifest.draw is not None and work.manifest.draw.per_label is not None
    if work.spec.quality is None or (not certifies and await work.ruling(generation) is not None):
        return list(batches)
    row = await work.services.ledger.job(work.job)
    return await ready_batches(work.services.storage, work.manifest, row, batches) if row else []


async def _pin(work: Work, generation: Generation, batch: BatchIndex) -> Pin:
    """What the first lease makes of version, money and seed; a later lease is given the first one's."""
    place = f"{work.spec.policy.seed}/{work.job}/{generation}/{batch}".encode()
    policy, price = await work.standing_policy(generation), 0.0
    if work.learner is not None:
        price = await asyncio.to_thread(policy.price_of_money, await usd_per_query(work, generation))
    return Pin(
        policy_version=policy.version,
        price_of_money=price,
        seed=int.from_bytes(blake2b(place, digest_size=8).digest()) >> 1,
    )


async def run_batch(work: Work, lease: Lease, since: int, progress: Progress | None = None) -> Commit | None:
    """Answer every query of the batch, leased at `since` (Unix ms), and commit; None when its time was up first."""
    data = await work.services.storage.read(lake.batch_file(lease.job, lease.generation, lease.batch))
    queries = read_documents(pq.ParquetFile(io.BytesIO(data)).read())
    audits = work.spec.quality is not None and not queries
    caller = _caller(work, lease, since, AuditCaller if audits else Caller)
    count = Count(work.asking.rungs, progress)
    async with heartbeat(work, lease, caller), noting(work, lease, count):
        try:
            done = await _run(work, lease, caller, queries, count.add)
        except Yielded:
            return None
    return await _commit(work, lease, done)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch did, besides what the ledger knows."""

    results: Sequence[Result] = ()
    off_ledger: Sequence[OffLedger] = ()
    audited: Sequence[Result] = ()  # what the tiers said to the audit: no results of queries


async def _run(
    work: Work, lease: Lease, caller: Caller, queries: Sequence[Query], progress: Progress
) -> Done:
    poisoned = lease.attempts > work.services.timing.poison
    if isinstance(caller, AuditCaller):
        return await _audit(work, lease, caller, poisoned)
    if poisoned:
        return Done(results=_give_up(work, lease, queries))
    ruling = await work.ruling(lease.generation)
    if ruling is not None and not ruling.runs:
        return Done(results=[_unplanned(work, query, ruling) for query in queries])
    results, off_ledger = await _answer(work, lease, caller, queries, progress)
    return Done(results=results, off_ledger=off_ledger)


async def _audit(work: Work, lease: Lease, caller: AuditCaller, poisoned: bool) -> Done:
    """The drawn rows, and the plan that they freeze; or, in the generation's last batch, the labels'."""
    row = await work.services.ledger.job(work.job)
    if row is not None and lease.batch == labels_batch(work.manifest, row.batches):
        return await _audit_labels(work, lease, caller, poisoned)
    if poisoned:
        await give_up_audit(work, lease.generation, _poison(lease))
        return Done()
    drawn = await read_drawn(work.services.storage, work.job)
    assigned, off_ledger = await categorised(work, caller, drawn)
    if work.past is not None:
        drawn = await asyncio.to_thread(work.past.with_examples, drawn, work.spec.history.examples)
    await _warm(work, drawn)
    audited, calls = await hold_audit(
        work, lease.generation, caller, drawn, assigned, partial(_walk_safely, work, caller)
    )
    return Done(off_ledger=[*off_ledger, *calls], audited=audited)


async def _audit_labels(work: Work, lease: Lease, caller: AuditCaller, poisoned: bool) -> Done:
    """Rows of each label that was answered, asked of the reference alone; no judge has a say in them."""
    ruling = await work.ruling(lease.generation)
    why = _poison(lease) if poisoned else "" if ruling is None or ruling.runs else ruling.reason
    if why:
        await write_labels(work, lease.generation, replace(wanted_labels(work), reason=why))
        return Done()
    answered = await draw_labels(work, lease.generation)
    assigned, off_ledger = await categorised(work, caller, answered.documents)
    if work.past is not None:
        shown = await asyncio.to_thread(
            work.past.with_examples, answered.documents, work.spec.history.examples
        )
        answered = replace(answered, documents=shown)
    caller.asks_for = "stratum"
    alone = dataclasses.replace(work, asking=replace(work.asking, judging=Judging(judges=())))
    audited, calls = await hold_labels(
        work, lease.generation, caller, answered, assigned, partial(_walk_safely, alone, caller)
    )
    return Done(off_ledger=[*off_ledger, *calls], audited=audited)


def _unplanned(work: Work, query: Query, ruling: Ruling) -> Result:
    """Nothing is asked where no plan is frozen."""
    plan = Plan(tiers=(), accept=(), route="ladder", policy_version="none")
    status: Status = "deferred" if ruling.kind == "unfinished" else "cancelled"
    if query.rejected is not None:
        status = "rejected"
    return Result(
        query_id=query.query_id, status=status, value=None, confidence=None, tier=None, steps=(),
        assignment=ROOT, plan=plan, reason=query.rejected or ruling.reason, finished_at=work.services.clock(),
    )  # fmt: skip


async def _answer(
    work: Work, lease: Lease, caller: Caller, queries: Sequence[Query], progress: Progress
) -> tuple[list[Result], list[OffLedger]]:
    span = work.services.tracer.span
    with span("taxonomy", queries=len(queries)):
        assigned, off_ledger = await categorised(work, caller, queries)
    with span("encode"):
        queries, reused = await encoded(work, caller, lease, queries, assigned)
    off_ledger += reused
    with span("plan", policy_version=lease.pin.policy_version):
        policy = await work.policy_at(lease.generation, lease.pin.policy_version)
        plans = await asyncio.to_thread(policy.plan, queries, assigned, lease.pin)
    if work.past is not None:
        queries = await asyncio.to_thread(work.past.with_examples, queries, work.spec.history.examples)

    async def ask(rows: Sequence[int]) -> list[Result]:
        asked, placed = [queries[row] for row in rows], [assigned[row] for row in rows]
        planned = [plans[row] for row in rows]
        async with purse_of(work, lease, caller, asked, planned) as purse:
            return await _walk_all(work, caller, asked, placed, planned, off_ledger, progress, purse)

    copies: list[OffLedger] = []
    with span("walk", queries=len(queries)) as walking:
        if work.spec.history.near_duplicates is None:
            results = await ask(range(len(queries)))
        else:
            results, copies = await copied_or_asked(work, queries, assigned, plans, ask, progress)
        walking.set(**Counter(str(result.status) for result in results))
    return results, [*off_ledger, *copies]


def _caller(work: Work, lease: Lease, since: int, kind: type[C]) -> C:
    services = work.services
    return kind(
        ledger=services.ledger,
        lease=lease,
        account=work.manifest.account,
        clock=services.clock,
        new_id=services.new_id,
        random=services.random,
        share=work.spec.input.duplicates == "once",
        lease_until=since + services.timing.lease,
        history=work.history,
        encoded=work.encoded,
    )


async def _walk_all(
    work: Work,
    caller: Caller,
    queries: Sequence[Query],
    assigned: Sequence[Assignment],
    plans: Sequence[Plan],
    off_ledger: list[OffLedger],
    progress: Progress,
    purse: Purse | None,
) -> list[Result]:
    """All queries at once, no barrier between tiers; the tiers' paces are the only limit while there is money."""
    await _warm(work, queries)

    async def one(query: Query, assignment: Assignment, plan: Plan) -> Result:
        try:
            result = await _walk_safely(work, caller, query, assignment, plan, off_ledger, purse)
        finally:
            if purse is not None:
                purse.leave(query.query_id)
        progress(result)
        return result

    return await together([one(*each) for each in zip(queries, assigned, plans, strict=True)])


async def _walk_safely(
    work: Work,
    caller: Caller,
    query: Query,
    assignment: Assignment,
    plan: Plan,
    off_ledger: list[OffLedger],
    purse: Purse | None = None,
) -> Result:
    """A query's failure is a row. What concerns the whole batch (lease, ledger, lake, time) is not."""
    QUERY.set(query.query_id)
    try:
        result, calls = await walk(work.asking, caller, query, assignment, plan, work.services.clock, purse)
    except CONCERNS_THE_BATCH:
        raise
    except Exception as error:
        return _failed(work, query, assignment, plan, f"{type(error).__name__}: {error}")
    for tier, asked in calls:
        model = work.asking.rungs[tier].provider.model
        off_ledger.append(OffLedger(query_id=query.query_id, tier=tier, asked=asked, model=model))
    return result if work.spec.promise is None else _on_plan(result)


def _on_plan(result: Result) -> Result:
    """A plan that is certified has no way round a tier that could not be asked."""
    if result.status == "deferred" or not missed_a_tier(result):
        return result
    reason = f"off plan: a tier of it could not be asked; {result.reason}"
    return msgspec.structs.replace(result, status="deferred", reason=reason)


async def _warm(work: Work, queries: Sequence[Query]) -> None:
    """Local tiers that can answer a whole batch at once do so; the first of a ladder sees every document."""
    first = work.asking.rungs[next(iter(work.asking.rungs))]
    warm = getattr(first.provider, "warm", None)
    if warm is None or work.asking.masked:
        return
    try:
        await asyncio.to_thread(warm, [query.text for query in queries if query.rejected is None])
    except Exception as error:  # each document is then asked alone, and the one that fails is a failed row
        log.warning("%s cannot answer the batch at once: %s: %s", first.name, type(error).__name__, error)


def _failed(work: Work, query: Query, assignment: Assignment, plan: Plan, reason: str) -> Result:
    return Result(
        query_id=query.query_id, status="failed", value=None, confidence=None, tier=None, steps=(),
        assignment=assignment, plan=plan, reason=reason[:300], finished_at=work.services.clock(),
    )  # fmt: skip


def _give_up(work: Work, lease: Lease, queries: Sequence[Query]) -> list[Result]:
    """Nothing is categorised or planned any more: that may be what ended its holders."""
    reason = _poison(lease)
    plan = Plan(tiers=(), accept=(), route="ladder", policy_version=lease.pin.policy_version)
    return [_failed(work, query, ROOT, plan, reason) for query in queries]


def _poison(lease: Lease) -> str:
    return f"poison: its batch was given up after {lease.attempts - 1} leases without progress"


async def _commit(work: Work, lease: Lease, done: Done) -> Commit:
    """Write the parts, then create the commit point: the first one wins, a loser's parts are swept."""
    services = work.services
    calls = await services.ledger.calls(lease.job, lease.generation, lease.batch)
    services.tracer.calls(calls, {tier.name: tier.provider for tier in work.spec.tiers})
    with services.tracer.span("commit", calls=len(calls)):
        return await _write(work, lease, done, calls)


async def _write(work: Work, lease: Lease, done: Done, calls: Sequence[CallRow]) -> Commit:
    services = work.services
    tables = batch_tables(work.manifest, lease, done.results, done.off_ledger, calls, done.audited)
    keys = {name: lake.part(name, lease.job, lease.generation, lease.batch, lease.fence) for name in tables}
    await asyncio.gather(*(write_part(services.storage, keys[name], table) for name, table in tables.items()))
    if await services.ledger.renew(lease, services.clock(), services.timing.lease) is None:
        raise LeaseLost(name=f"batch {lease.batch} of {lease.job}")
    commit = Commit(
        job=lease.job,
        generation=lease.generation,
        batch=lease.batch,
        fence=lease.fence,
        files=keys,
        rows={name: table.num_rows for name, table in tables.items()},
        statuses=dict(Counter(result.status for result in done.results)),
        ledger=totals_of(calls),
        tiers=dict(Counter(str(result.tier) for result in done.results if result.status == "answered")),
        asked=asked_of(done.results),
    )
    if await create_commit(services.storage, commit) and services.meters is not None:
        services.meters.commit(tables)
    say_trouble(tables)
    return commit


async def _has_commit(work: Work, lease: Lease) -> bool:
    """Whether a former holder committed and died before the ledger heard of it."""
    if lease.fence <= 1:
        return False
    try:
        await work.services.storage.read(lake.commit(lease.job, lease.generation, lease.batch))
    except NoSuchObject:
        return False
    return True
