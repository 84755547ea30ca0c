"""What submit pinned: whoever works on the job later needs this, the lake and the ledger, nothing else."""

from typing import Any

import msgspec

from schemas.ids import AccountId, JobId, Nano, TierName
from schemas.job import JobSpec
from schemas.money import Price


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that were drawn to certify the job: in `lake.drawn`, those of the pilot first."""

    key: str  # of the hash they were drawn by; hex
    pilot: int
    audit: int
    per_label: int | None = None  # rows drawn at the end from each label's; None: labels are not certified


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """The occurrence that a job runs."""

    schedule: str
    scheduled_at: int  # Unix ms
    seen_at: int  # Unix ms


class Incremental(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the input, beside what earlier jobs of the schedule have answered."""

    new: int
    changed: int
    unchanged: int  # not asked again, nor copied

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.changed:,} changed, {self.unchanged:,} unchanged"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    spec: dict[str, Any]  # the job spec with the files it names read in
    spec_hash: str
    prompt_hash: str
    policy_version: str
    prices: dict[TierName, Price]
    files: dict[TierName, str]  # tier -> key of its training data, or of its student, in the lake
    aside: dict[TierName, str] = {}  # tiers of the spec that are not asked -> why
    reuse_since: int | None = (
        None  # Unix ms: what other jobs were answered from then on is used again; None: nothing
    )
    past: str | None = None  # key of the answers of closed jobs that this one looks back at
    forecast: tuple[Nano, Nano] | None = None  # of the bill, nine times in ten; None: no earlier jobs
    draw: Draw | None = None  # None: nothing is to be certified
    student: str | None = None  # key of the student that judges; None: none was taught yet
    combiner: str | None = None  # key of the judges' weights; None: the stated ones
    scheduled: Scheduled | None = None  # None: submitted by hand
    incremental: Incremental | None = None  # None: every row is asked
    account: AccountId
    created_at: int  # Unix ms
    queries: int
    rejected: int
    batches: int

    def job_spec(self) -> JobSpec:
        """With the tiers that are asked."""
        return JobSpec.model_validate(self.spec).without(self.aside)


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def decode(data: bytes) -> Manifest:
    return msgspec.json.decode(data, type=Manifest)
