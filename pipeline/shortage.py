"""Whether a batch's part of the money suffices for all it could ask; where it may not, a purse decides call by call."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from pipeline.cascade.call import Caller
from pipeline.cascade.purse import Purse, holds_of, judging_of
from pipeline.cascade.walk import parts_of
from pipeline.cascade.worth import chance_of
from pipeline.ports.ledger import Want
from pipeline.work import Work
from schemas.errors import LeaseLost
from schemas.ids import Generation, Nano
from schemas.money import NANO_PER_USD
from schemas.records import Lease, Plan, Query


@asynccontextmanager
async def purse_of(
    work: Work, lease: Lease, caller: Caller, queries: Sequence[Query], plans: Sequence[Plan]
) -> AsyncIterator[Purse | None]:
    """None: everyone may pass. Raises LeaseLost."""
    purse = (
        None
        if work.spec.budget.when_short == "first_come"
        else await _open(work, lease, caller, queries, plans)
    )
    try:
        yield purse
    finally:
        if purse is not None:
            purse.close()


async def _open(
    work: Work, lease: Lease, caller: Caller, queries: Sequence[Query], plans: Sequence[Plan]
) -> Purse | None:
    most = _most(work, queries, plans)
    if not most:
        return None
    services, account, rows = work.services, work.manifest.account, _rows_each(work, lease.generation)
    want = Want(lease=lease, account=account, queries=len(queries), most=most, rows=rows)
    share = await services.ledger.divide(want, services.clock())
    if share is None:
        raise LeaseLost(name=f"batch {lease.batch} of {lease.job}")
    if share.amount >= most:
        return None
    return Purse(
        work.asking, caller, services.ledger, lease, account,
        seen=work.seen, chance=chance_of(work.seen), share=share, queries=len(queries), rows=rows,
        clock=services.clock,
    )  # fmt: skip


def _most(work: Work, queries: Sequence[Query], plans: Sequence[Plan]) -> Nano:
    """As if every document were the longest, asked every tier of its plan and every judge: cheap to reckon."""
    asked = [query for query in queries if query.rejected is None]
    if not asked:
        return Nano(0)
    longest = max(asked, key=lambda query: len(query.text))
    longest = msgspec.structs.replace(longest, examples=max((query.examples for query in asked), key=_length))
    total = 0
    everywhere = tuple(work.asking.rungs)  # where a plan may lead that is planned again
    reached = Counter(everywhere if plan.onward else plan.tiers for plan in plans)
    for tiers, count in reached.items():
        plan = msgspec.structs.replace(plans[0], tiers=tiers)
        parts = parts_of(work.asking, plan, longest.text) or [longest.text]
        judging = len(plan.tiers) * judging_of(work.asking, longest, parts)
        total += count * (sum(holds_of(work.asking, longest, plan, parts)) + judging)
    return Nano(total)


async def usd_per_query(work: Work, generation: Generation) -> float:
    """What the tightest account has left, for each query whose batch is not committed."""
    ledger = work.services.ledger
    left: float = float("inf")
    names = [work.manifest.account]
    for name in names:  # which grows meanwhile
        if (account := await ledger.account(name)) is not None:
            left = min(left, account.cap - account.spent)
            names += [each for each in account.parents if each not in names]
    row = await ledger.job(work.job)
    open_batches = max(1, row.batches - row.committed) if row else 1
    return max(left, 0.0) / NANO_PER_USD / (open_batches * _rows_each(work, generation))


def _length(examples: tuple[tuple[str, str], ...]) -> int:
    return sum(len(text) + len(reply) for text, reply in examples)


def _rows_each(work: Work, generation: Generation) -> int:
    """Queries of a batch that nobody has read yet."""
    if generation > 1:
        return work.spec.input.batch.rows
    return -(-work.manifest.queries // work.manifest.batches)
