"""One batch, top to bottom. Read this file first.

    take the lease -> read the queries -> categorise -> plan -> every query walks its plan -> write parts -> commit

The lease is a right to commit, not to spend: holds and settlements go through the ledger call by call, so a
batch that is killed, yields or is delivered twice asks again only for what has no journalled reply.
"""

import asyncio
import io
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import pyarrow.parquet as pq

from pipeline.cascade.call import Caller, Rung, Yielded
from pipeline.cascade.walk import walk
from pipeline.rows import OffLedger, batch_tables, read_documents, totals_of
from pipeline.storage.commits import create_commit
from pipeline.storage.final import write_part
from pipeline.task.mask import mask
from pipeline.taxonomy.slow import read_category, slow_request
from pipeline.taxonomy.tree import ROOT
from pipeline.work import Progress, Work
from schemas import lake
from schemas.errors import LakeUnreachable, LeaseLost, LedgerUnreachable, NoSuchObject
from schemas.ids import BatchIndex, Generation
from schemas.records import Assignment, Commit, Lease, Pin, Plan, Query, Result

T = TypeVar("T")
log = logging.getLogger("tierwise.flow")
CONCERNS_THE_BATCH = (Yielded, LeaseLost, LedgerUnreachable, LakeUnreachable)
Taken = Literal["committed", "leased", "closed", "unknown", "yielded", "lost"]


async def take_batch(
    work: Work, generation: Generation, batch: BatchIndex, progress: Progress | None = None
) -> tuple[Taken, int | None]:
    """Run a batch if it is ours to run. Returns what became of it and, when it was committed, how many are left."""
    services = work.services
    ledger = services.ledger
    pin = Pin(policy_version=work.policy.version)
    lease = await ledger.lease_batch(
        work.job, generation, batch,
        owner=services.owner, pin=pin, now=services.clock(), ttl_ms=services.timing.lease,
    )  # fmt: skip
    if not isinstance(lease, Lease):
        return lease, None
    try:
        if not await _has_commit(work, lease) and not await run_batch(work, lease, progress):
            await ledger.release(lease)
            return "yielded", None
    except LeaseLost:
        return "lost", None
    except LakeUnreachable:  # an outage is no poison: the next holder starts afresh
        await ledger.release(lease)
        raise
    return "committed", await ledger.commit_batch(work.job, generation, batch)


async def run_batch(work: Work, lease: Lease, progress: Progress | None = None) -> bool:
    """Answer every query of the batch and commit; False when its time was up first."""
    data = await work.services.storage.read(lake.batch_file(lease.job, lease.generation, lease.batch))
    queries = read_documents(pq.read_table(io.BytesIO(data)))
    caller = _caller(work, lease)
    off_ledger: list[OffLedger] = []
    async with _heartbeat(work, lease, caller):
        try:
            if lease.attempts > work.services.timing.poison:
                results = _give_up(work, lease, queries)
            else:
                results, off_ledger = await _answer(work, lease, caller, queries, progress)
        except Yielded:
            return False
    await _commit(work, lease, results, off_ledger)
    return True


async def _answer(
    work: Work, lease: Lease, caller: Caller, queries: Sequence[Query], progress: Progress | None
) -> tuple[list[Result], list[OffLedger]]:
    assigned, off_ledger = await _categorise(work, caller, queries)
    plans = work.policy.plan(queries, assigned, lease.pin)
    results = await _walk_all(work, caller, queries, assigned, plans, off_ledger, progress)
    return results, off_ledger


def _caller(work: Work, lease: Lease) -> Caller:
    services = work.services
    return Caller(
        services.ledger,
        lease,
        work.manifest.account,
        clock=services.clock,
        new_id=services.new_id,
        random=services.random,
        share=work.spec.input.duplicates == "once",
    )


async def _categorise(
    work: Work, caller: Caller, queries: Sequence[Query]
) -> tuple[list[Assignment], list[OffLedger]]:
    """Taxonomy over the whole batch; the uncertain rest is put to the slow classifier, if the spec has one."""
    if work.taxonomy is None:
        return [ROOT] * len(queries), []
    assigned = await asyncio.to_thread(work.taxonomy.classify, queries)
    slow = work.slow
    if slow is None:
        return assigned, []
    uncertain = [
        row
        for row, each in enumerate(assigned)
        if not each.familiar and queries[row].rejected is None and _may_see(work, slow, each)
    ]
    said = await _all([_ask_category(work, slow, caller, queries[row]) for row in uncertain])
    known = {row: each[0] for row, each in zip(uncertain, said, strict=True) if each[0] is not None}
    off_ledger = [each[1] for each in said if each[1] is not None]
    return work.taxonomy.with_slow(queries, assigned, known), off_ledger


def _may_see(work: Work, rung: Rung, assignment: Assignment) -> bool:
    allowed = work.taxonomy.allowed(assignment) if work.taxonomy else None
    return allowed is None or rung.name in allowed


async def _ask_category(
    work: Work, slow: Rung, caller: Caller, query: Query
) -> tuple[tuple[int, float] | None, OffLedger | None]:
    assert work.taxonomy is not None
    nodes = work.taxonomy.nodes
    text = mask(query.text, work.asking.masked)[0] if work.asking.masked else query.text
    try:
        asked = await caller.ask(slow, slow_request(nodes, query, text), query.query_id, purpose="taxonomy")
    except CONCERNS_THE_BATCH:
        raise
    except Exception as error:  # the fast classifier's word then stands
        log.warning("the slow classifier failed on %s: %s: %s", query.query_id, type(error).__name__, error)
        return None, None
    known = read_category(nodes, asked.completion) if asked.completion else None
    if not slow.provider.local and not asked.reused:
        return known, None
    row = OffLedger(
        query_id=query.query_id, tier=slow.name, asked=asked, model=slow.provider.model, purpose="taxonomy"
    )
    return known, row


async def _walk_all(
    work: Work,
    caller: Caller,
    queries: Sequence[Query],
    assigned: Sequence[Assignment],
    plans: Sequence[Plan],
    off_ledger: list[OffLedger],
    progress: Progress | None,
) -> list[Result]:
    """All queries at once, no barrier between tiers; the tiers' slots are the only limit."""
    await _warm(work, queries)

    async def one(query: Query, assignment: Assignment, plan: Plan) -> Result:
        result = await _walk_safely(work, caller, query, assignment, plan, off_ledger)
        if progress:
            progress(result.status, result.tier or "")
        return result

    return await _all([one(*each) for each in zip(queries, assigned, plans, strict=True)])


async def _all(asking: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Waits for every one, also when one fails: nothing is in flight once the batch's lease is given up."""
    ended = await asyncio.gather(*asking, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, BaseException):
            raise failure
    return [each for each in ended if not isinstance(each, BaseException)]


async def _walk_safely(
    work: Work, caller: Caller, query: Query, assignment: Assignment, plan: Plan, off_ledger: list[OffLedger]
) -> Result:
    """A query's failure is a row. What concerns the whole batch (lease, ledger, lake, time) is not."""
    try:
        result, calls = await walk(work.asking, caller, query, assignment, plan, work.services.clock)
    except CONCERNS_THE_BATCH:
        raise
    except Exception as error:
        return _failed(work, query, assignment, plan, f"{type(error).__name__}: {error}")
    for tier, asked in calls:
        model = work.asking.rungs[tier].provider.model
        off_ledger.append(OffLedger(query_id=query.query_id, tier=tier, asked=asked, model=model))
    return result


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
    reason = f"poison: its batch was given up after {lease.attempts - 1} leases without progress"
    plan = Plan(tiers=(), accept=(), route="ladder", policy_version=lease.pin.policy_version)
    return [_failed(work, query, ROOT, plan, reason) for query in queries]


async def _commit(
    work: Work, lease: Lease, results: Sequence[Result], off_ledger: Sequence[OffLedger]
) -> None:
    """Write the parts, then create the commit point: the first one wins, a loser's parts are swept."""
    services = work.services
    calls = await services.ledger.calls(lease.job, lease.generation, lease.batch)
    tables = batch_tables(work.manifest, lease, results, off_ledger, calls)
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
        statuses=dict(Counter(result.status for result in results)),
        ledger=totals_of(calls),
        tiers=dict(Counter(str(result.tier) for result in results if result.status == "answered")),
    )
    await create_commit(services.storage, commit)


async def _has_commit(work: Work, lease: Lease) -> bool:
    """Whether a former holder committed and died before the ledger heard of it."""
    if lease.fence <= 1:
        return False
    try:
        await work.services.storage.read(lake.commit(lease.job, lease.generation, lease.batch))
    except NoSuchObject:
        return False
    return True


@asynccontextmanager
async def _heartbeat(work: Work, lease: Lease, caller: Caller) -> AsyncIterator[None]:
    """Renews the lease at a third of its length; ends the batch's spending when it is lost or its time is up.

    What is in flight when the time is up is still waited for, so the lease is kept until the block ends: its
    next holder would presume those calls and pay for them again."""
    timing = work.services.timing
    ends_at = work.services.clock() + timing.batch

    async def beat() -> None:
        renewed: object = lease
        while renewed is not None:
            await asyncio.sleep(timing.lease / 3000)
            try:
                renewed = await work.services.ledger.renew(lease, work.services.clock(), timing.lease)
            except LedgerUnreachable as error:
                log.warning("the lease of batch %s of %s was not renewed: %s", lease.batch, lease.job, error)
            caller.time_is_up = renewed is None or work.services.clock() >= ends_at

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
