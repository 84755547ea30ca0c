"""Firing schedules: at each tick of a beat, and now and then by every worker itself, since a tick that waits behind a
long queue has expired when its turn comes."""

import asyncio
import logging

from pipeline.schedule.fire import fire
from pipeline.work import Services
from workers.dead import end_dead_leases
from workers.dispatch import Dispatch

log = logging.getLogger("tierwise.schedule")


async def fire_forever(services: Services, dispatch: Dispatch) -> None:
    """A failing look is logged and tried again."""
    while True:
        await asyncio.sleep(services.timing.lease / 3000)
        try:
            await fire_due(services, dispatch)
        except Exception:
            log.exception("schedules were not fired; the next look starts afresh")


async def fire_due(services: Services, dispatch: Dispatch) -> None:
    await end_dead_leases(services)
    for fired in await fire(services, lambda pinned: asyncio.to_thread(dispatch.job, pinned)):
        log.info("%s: %s %s", fired.schedule, fired.state, fired.job or fired.note)
