"""Where things lie in the lake: keys relative to its root.

_jobs/J/manifest.json            what submit pinned: spec, prices, policy, prompt hash
_jobs/J/gG/NNNNNN.parquet        the queries of a batch (schema `documents`)
_commits/J/G/N.json              the commit point of a batch
_live/TABLE/job=J/…parquet       parts of batches, referenced by commits
TABLE/job=J/data.parquet         the final table of a closed job: one object, replaced whole
TABLE/_schema/data.parquet       an empty file, so that views bind in an empty lake
_live/TABLE/_schema/…, _commits/_schema/…   likewise, for the live views; no job id begins with "_"
"""

import re

from schemas.ids import BatchIndex, Fence, Generation, JobId

LIVE_RESULTS = "_live/results/"
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def manifest(job: JobId) -> str:
    return f"_jobs/{job}/manifest.json"


def batch_file(job: JobId, generation: Generation, batch: BatchIndex) -> str:
    return f"_jobs/{job}/g{generation}/{batch:06d}.parquet"


def commits(job: JobId, generation: Generation) -> str:
    return f"_commits/{job}/{generation}/"


def commit(job: JobId, generation: Generation, batch: BatchIndex) -> str:
    return f"{commits(job, generation)}{batch}.json"


def live(table: str, job: JobId) -> str:
    return f"_live/{table}/job={job}/"


def part(table: str, job: JobId, generation: Generation, batch: BatchIndex, fence: Fence) -> str:
    return f"{live(table, job)}g{generation}-b{batch:06d}-f{fence}.parquet"


def final(table: str, job: JobId) -> str:
    return f"{table}/job={job}/data.parquet"


def empty(table: str) -> str:
    return f"{table}/_schema/data.parquet"


def empty_live(table: str) -> str:
    return f"_live/{table}/_schema/data.parquet"


def empty_commit() -> str:
    return "_commits/_schema/0/0.json"
