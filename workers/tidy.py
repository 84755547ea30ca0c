"""Clearing up after closed jobs: their live parts, losers' included, go once readers have had time to move on."""

import re

from pipeline.storage.sweep import delete_live
from pipeline.work import Services
from schemas import lake
from schemas.ids import JobId

GRACE_MS = 10 * 60_000
_JOB = re.compile(r"_live/results/job=([^/]+)/")


async def tidy(services: Services) -> int:
    """Returns the number of parts deleted."""
    keys = await services.storage.list(lake.LIVE_RESULTS)
    jobs = {match[1] for key in keys if (match := _JOB.match(key))}
    deleted = 0
    for job in sorted(jobs):
        row = await services.ledger.job(JobId(job))
        if row is None or row.closed_at is None or row.state != "closed":
            continue
        if services.clock() - row.closed_at >= GRACE_MS:
            deleted += await delete_live(services.storage, row.job, row.generation)
    return deleted
