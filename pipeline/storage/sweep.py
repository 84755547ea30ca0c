"""Parts nobody needs: those of workers that lost the race to commit, and those a closed job has compacted."""

import re

from pipeline.ports.storage import Storage
from pipeline.storage.commits import read_commits
from schemas import lake
from schemas.ids import Generation, JobId
from schemas.tables import BATCH_TABLES

_PART = re.compile(r".*/g(?P<generation>\d+)-b(?P<batch>\d+)-f\d+\.parquet")


async def unreferenced_parts(storage: Storage, job: JobId, generation: Generation) -> list[str]:
    """Parts of committed batches that their commit does not name. A batch not committed yet keeps all its
    parts, since its commit may still name them."""
    parts = [key for key in await _parts(storage, job) if _number(key, "generation") == generation]
    commits = await read_commits(storage, job, generation)  # after the listing: a later part is not in it
    named = {key for commit in commits for key in commit.files.values()}
    committed = {commit.batch for commit in commits}
    return [key for key in parts if key not in named and _number(key, "batch") in committed]


async def delete_live(storage: Storage, job: JobId, generation: Generation) -> int:
    """Delete the job's parts up to a closed generation, after the grace period for readers; says how many."""
    keys = [key for key in await _parts(storage, job) if 0 <= _number(key, "generation") <= generation]
    await storage.delete(keys)
    return len(keys)


async def _parts(storage: Storage, job: JobId) -> list[str]:
    return [key for table in BATCH_TABLES for key in await storage.list(lake.live(table, job))]


def _number(key: str, name: str) -> int:
    match = _PART.fullmatch(key)
    return int(match[name]) if match else -1
