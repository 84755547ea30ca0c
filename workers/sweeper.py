"""The sweeper: publishes again what was lost, and sends webhooks again. Every worker runs one; a ledger lease lets one
at a time work."""

import asyncio
import logging
import random

from pipeline.webhook import deliver
from pipeline.work import Services
from workers.dead import end_dead_leases
from workers.dispatch import Dispatch
from workers.tidy import tidy

log = logging.getLogger("tierwise.sweeper")
NAME = "sweeper"


async def sweep_forever(services: Services, dispatch: Dispatch) -> None:
    """A failing round is logged and tried again: the next one starts from the ledger's truth."""
    pause_s = services.timing.lease / 3000
    while True:
        await asyncio.sleep(pause_s * (0.75 + random.random() / 2))
        try:
            await sweep(services, dispatch)
        except Exception:
            log.exception("the sweep failed; the next one starts afresh")


async def sweep(services: Services, dispatch: Dispatch) -> int:
    """Publish batches without a running lease that nobody has taken up since the last sweep, and closings.
    Returns the number of messages."""
    ttl = services.timing.lease
    fence = await services.ledger.take(NAME, owner=services.owner, now=services.clock(), ttl_ms=ttl)
    if fence is None:
        return 0
    await end_dead_leases(services)
    published = 0
    for row in await services.ledger.jobs():
        if row.state == "closed":
            continue
        lost = await services.ledger.lost_batches(row.job, services.clock(), ttl)
        if lost:
            log.info("publishing again: %s batches of %s", len(lost), row.job)
            await asyncio.to_thread(dispatch.batches, row.job, row.generation, lost)
        if row.committed >= row.batches:
            await asyncio.to_thread(dispatch.close, row.job, row.generation)
        published += len(lost) + (row.committed >= row.batches)
    await tidy(services)
    await deliver(services)
    return published
