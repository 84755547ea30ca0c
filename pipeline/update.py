"""Between batches: every so many committed ones, what they taught becomes a new version."""

import logging

from pipeline.learning.learn import learn_from
from pipeline.storage.commits import read_commits
from pipeline.work import Work
from schemas import lake
from schemas.ids import Generation
from schemas.tables import BATCH_TABLES

log = logging.getLogger("tierwise.update")


async def update(work: Work, generation: Generation, left: int) -> None:
    """After a commit that left so many batches open; each number is left by one commit, so one process learns. An
    update that is lost with its process is made up for by the next one, or at close."""
    row = await work.services.ledger.job(work.job) if work.learner else None
    if work.learner is None or row is None or (row.batches - left) % work.spec.policy.update_every:
        return
    commits = await read_commits(work.services.storage, work.job, generation)
    parts = {name: [each.files[name] for each in commits] for name in BATCH_TABLES}
    parts["documents"] = [lake.batch_file(work.job, generation, each.batch) for each in commits]
    try:
        await learn_from(work.learner, parts, work.services.clock())
    except Exception:  # batches go on as they were routed before
        log.exception("nothing was learned from %s so far", work.job)
