"""The parts of a closed job: compacted into its final tables, or of workers that lost the race to commit."""

import re

from pipeline.ports.storage import Storage
from schemas import lake
from schemas.ids import Generation, JobId
from schemas.tables import BATCH_TABLES

_PART = re.compile(r".*/g(?P<generation>\d+)-b(?P<batch>\d+)-f\d+\.parquet")


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
