"""Work that one process at a time does, under a named lease of the ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pipeline.work import Services
from schemas.errors import LedgerUnreachable
from schemas.ids import Fence


@asynccontextmanager
async def leased(services: Services, name: str) -> AsyncIterator[bool]:
    """Whether the lease is ours; it is kept until the block ends. Such work must bear to be done twice at once: a
    process that was stopped for longer than a lease may wake up in it."""
    ttl = services.timing.lease
    fence = await services.ledger.take(name, owner=services.owner, now=services.clock(), ttl_ms=ttl)
    if fence is None:
        yield False
        return
    keeping = asyncio.create_task(_keep(services, name, fence))
    try:
        yield True
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await services.ledger.give_back(name, owner=services.owner, fence=fence)


async def _keep(services: Services, name: str, fence: Fence) -> None:
    ttl = services.timing.lease
    while True:
        await asyncio.sleep(ttl / 3000)
        with suppress(LedgerUnreachable):
            await services.ledger.keep(
                name, owner=services.owner, fence=fence, now=services.clock(), ttl_ms=ttl
            )
