"""A lease kept while its batch is worked on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.cascade.call import Caller
from pipeline.cascade.holder import Stopped, Yielded
from pipeline.ports.ledger import JobRow
from pipeline.work import Work
from schemas.errors import LedgerUnreachable
from schemas.records import Lease

log = logging.getLogger("tierwise.flow")


@asynccontextmanager
async def heartbeat(work: Work, lease: Lease, caller: Caller) -> AsyncIterator[None]:
    """Renews the lease at a third of its length; ends the batch's spending when it is lost or its time is up.

    What is in flight when the time is up is still waited for, so the lease is kept until the block ends: its
    next holder would presume those calls and pay for them again."""
    timing = work.services.timing
    ends_at = work.services.clock() + timing.batch

    async def beat() -> None:
        renewed: Lease | JobRow | None = lease
        while renewed is not None:
            await asyncio.sleep(timing.lease / 3000)
            now = work.services.clock()
            try:
                renewed = await work.services.ledger.renew(lease, now, timing.lease)
                caller.lease_until = now + timing.lease if renewed else 0
            except LedgerUnreachable as error:
                log.warning("the lease of batch %s of %s was not renewed: %s", lease.batch, lease.job, error)
            caller.time_is_up = renewed is None or work.services.clock() >= ends_at
            if caller.time_is_up:
                caller.end_waits(Yielded())
            elif isinstance(renewed, JobRow) and renewed.stop:
                caller.end_waits(Stopped(renewed.stop))

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
