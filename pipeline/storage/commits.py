"""The commit points of a generation."""

import asyncio
from collections.abc import Sequence

import msgspec

from pipeline.ports.storage import Storage
from schemas import lake
from schemas.ids import Generation, JobId
from schemas.records import Commit

AT_ONCE = 32  # objects read at the same time


async def create_commit(storage: Storage, commit: Commit) -> bool:
    """False: another holder committed this batch first; its parts stand, ours are swept."""
    key = lake.commit(commit.job, commit.generation, commit.batch)
    return await storage.create(key, msgspec.json.encode(commit))


async def read_commits(storage: Storage, job: JobId, generation: Generation) -> list[Commit]:
    """In order of their batches."""
    found = await read_each(storage, await storage.list(lake.commits(job, generation)))
    return sorted(found, key=lambda commit: commit.batch)


async def read_each(storage: Storage, keys: Sequence[str]) -> list[Commit]:
    """The commits under these keys, in their order."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(key: str) -> Commit:
        async with turn:
            return msgspec.json.decode(await storage.read(key), type=Commit)

    return list(await asyncio.gather(*map(one, keys)))
