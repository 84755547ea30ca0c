"""Where things lie in the lake: keys relative to its root.

_version.json                    the version of its schema, and whether it is being migrated
_jobs/J/manifest.json            what submit pinned: spec, prices, policy, prompt hash
_jobs/J/past.parquet             answers of closed jobs that this one looks back at
_jobs/J/drawn.parquet            the rows of the pilot and the audit, drawn at submit
_jobs/J/ruling-gG.json          what they came to: the frozen plan, or why there is none; created once
_jobs/J/labels-gG.json          what may be said of each label; created once
_jobs/J/gG/NNNNNN.parquet        the queries of a batch (schema `documents`)
_students/PROMPT_HASH/TIME-VERSION   what a student of that task has learned; never changed
_combiners/SCOPE/TIME-VERSION    weights of a task's judges, fitted on labels; never changed
_commits/J/G/N.json              the commit point of a batch
_live/TABLE/job=J/…parquet       parts of batches, referenced by commits
TABLE/job=J/data.parquet         the final table of a closed job: one object, replaced whole
feedback/job=J/HASH.parquet      labels given after the fact, one object for each time some were (a review's become one)
embeddings/job=J/gG-bNNNNNN.parquet  what an encoder's endpoint made of the texts of a batch; the first to write it wins
releases/job=J/HASH.parquet      presumed calls that came to their true cost since, one object for each time
rewards/SCOPE/J.HASH.parquet     what a job's answers were worth, one object for each time something was learned of it
policies/NAME/VERSION.parquet    a version of a policy, never changed
_policies/NAME/NNNNNN.json       the promotions of that policy, in their order; the last one stands
TABLE/_schema/data.parquet       an empty file, so that views bind in an empty lake
_live/TABLE/_schema/…, _commits/_schema/…   likewise, for the live views; no job id begins with "_"
"""

import re

from schemas.ids import BatchIndex, Fence, Generation, JobId

VERSION = "_version.json"
LIVE_RESULTS = "_live/results/"
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def manifest(job: JobId) -> str:
    return f"_jobs/{job}/manifest.json"


def past(job: JobId) -> str:
    return f"_jobs/{job}/past.parquet"


def drawn(job: JobId) -> str:
    return f"_jobs/{job}/drawn.parquet"


def ruling(job: JobId, generation: Generation) -> str:
    return f"_jobs/{job}/ruling-g{generation}.json"


def by_label(job: JobId, generation: Generation) -> str:
    return f"_jobs/{job}/labels-g{generation}.json"


def students(prompt_hash: str) -> str:
    return f"_students/{prompt_hash}/"


def student(prompt_hash: str, trained_at: int, version: str) -> str:
    return f"{students(prompt_hash)}{trained_at:013d}-{version}"


def combiners(scope: str) -> str:
    return f"_combiners/{scope}/"


def combiner(scope: str, fitted_at: int, version: str) -> str:
    return f"{combiners(scope)}{fitted_at:013d}-{version}"


def batch_file(job: JobId, generation: Generation, batch: BatchIndex) -> str:
    return f"_jobs/{job}/g{generation}/{batch:06d}.parquet"


def batch_files(job: JobId) -> str:
    """All queries the job was submitted with."""
    return f"_jobs/{job}/g1/"


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


def certificates(job: JobId) -> str:
    return f"certificates/job={job}/"


def feedback(job: JobId) -> str:
    return f"feedback/job={job}/"


def embeddings(job: JobId) -> str:
    return f"embeddings/job={job}/"


def embedding(job: JobId, generation: Generation, batch: BatchIndex) -> str:
    return f"{embeddings(job)}g{generation}-b{batch:06d}.parquet"


def release(job: JobId, digest: str) -> str:
    return f"releases/job={job}/{digest}.parquet"


def rewards(scope: str) -> str:
    return f"rewards/{scope}/"


def reward(scope: str, job: JobId, digest: str) -> str:
    return f"{rewards(scope)}{job}.{digest}.parquet"


def rewarded_job(key: str) -> JobId:
    """Whose rewards an object holds."""
    return JobId(key.rpartition("/")[2].rsplit(".", 2)[0])


def versions(policy: str) -> str:
    return f"policies/{policy}/"


def version(policy: str, version: str) -> str:
    return f"{versions(policy)}{version}.parquet"


def promotions(policy: str) -> str:
    return f"_policies/{policy}/"


def promotion(policy: str, number: int) -> str:
    return f"{promotions(policy)}{number:06d}.json"


def empty(table: str) -> str:
    return f"{table}/_schema/data.parquet"


def empty_live(table: str) -> str:
    return f"_live/{table}/_schema/data.parquet"


def empty_commit() -> str:
    return "_commits/_schema/0/0.json"
