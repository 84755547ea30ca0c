"""The inline dispatcher: works a job's batches in this process until its generation is closed."""

import asyncio

from pipeline.close import close_generation
from pipeline.flow import may_begin, take_batch
from pipeline.ports.ledger import JobRow
from pipeline.update import update
from pipeline.webhook import deliver
from pipeline.work import Progress, Work
from schemas.errors import UnknownJob
from schemas.ids import BatchIndex, Generation
from workers.dead import end_dead_leases

_IDLE_S = 0.2  # between looks at batches, or a closing, that other processes hold


async def work_inline(work: Work, *, in_flight: int = 4, progress: Progress | None = None) -> JobRow:
    """Returns the closed job. Safe beside other processes that work on the same job."""
    while True:
        await end_dead_leases(work.services)
        row = await _row(work)
        if row.state == "closed":
            await deliver(work.services)
            return row
        ready = await work.services.ledger.open_batches(work.job, work.services.clock())
        ready = await may_begin(work, row.generation, ready)
        if ready:
            await _take_all(work, row.generation, ready, in_flight, progress)
        elif row.committed < row.batches or not await close_generation(work, row.generation):
            await asyncio.sleep(_IDLE_S)


async def _take_all(
    work: Work, generation: Generation, ready: list[BatchIndex], in_flight: int, progress: Progress | None
) -> None:
    """A few batches at a time: enough to keep the tiers busy, few enough to bound memory."""
    queue = iter(ready)

    async def taker() -> None:
        for batch in queue:
            _, left = await take_batch(work, generation, batch, progress)
            if left:
                await update(work, generation, left)

    async with asyncio.TaskGroup() as takers:
        for _ in range(min(in_flight, len(ready))):
            takers.create_task(taker())


async def _row(work: Work) -> JobRow:
    row = await work.services.ledger.job(work.job)
    if row is None:
        raise UnknownJob(job=work.job)
    return row
