"""Which job is meant: its id, the beginning of one, or `latest`."""

import re
from difflib import get_close_matches

from pipeline.ports.storage import Storage
from schemas import lake, manifest
from schemas.errors import AmbiguousJob, NoSuchObject, UnknownJob
from schemas.ids import JobId

LATEST = "latest"
SHOWN = 5
_MANIFEST = re.compile(r"_jobs/([^/]+)/manifest\.json")


async def find_job(storage: Storage, said: str) -> JobId:
    """Raises UnknownJob, with the nearest ids, and AmbiguousJob. An id that is there stands for itself."""
    if lake.JOB_ID.fullmatch(said) and await _is_there(storage, JobId(said)):
        return JobId(said)
    ids = [JobId(match[1]) for key in await storage.list("_jobs/") if (match := _MANIFEST.fullmatch(key))]
    if not ids:
        fix = "check --lake and TIERWISE_LAKE; `tierwise run JOB.yaml` begins one."
        raise UnknownJob(job=said, fix=f"The lake {storage.uri} holds no job: {fix}")
    if said == LATEST:
        return max([(await _created(storage, each), each) for each in ids])[1]
    begun = [each for each in ids if each.startswith(said)] if said else []
    if len(begun) == 1:
        return begun[0]
    if begun:
        more = ", …" if len(begun) > SHOWN else ""
        raise AmbiguousJob(job=said, count=len(begun), jobs=", ".join(begun[:SHOWN]) + more)
    near = get_close_matches(said, ids, n=3)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownJob(job=said, fix=meant + UnknownJob.fix)


async def _is_there(storage: Storage, job: JobId) -> bool:
    """Submitted here, or its final tables were brought here."""
    for key in (lake.manifest(job), lake.final("jobs", job)):
        try:
            await storage.read(key)
            return True
        except NoSuchObject:
            continue
    return False


async def _created(storage: Storage, job: JobId) -> int:
    return manifest.decode(await storage.read(lake.manifest(job))).created_at
