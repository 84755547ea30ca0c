"""What submit pinned: whoever works on the job later needs this, the lake and the ledger, nothing else."""

from typing import Any

import msgspec

from schemas.ids import AccountId, JobId, TierName
from schemas.job import JobSpec
from schemas.money import Price


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    spec: dict[str, Any]  # the job spec with the files it names read in
    spec_hash: str
    prompt_hash: str
    policy_version: str
    prices: dict[TierName, Price]
    files: dict[TierName, str]  # tier -> key of its training data in the lake
    account: AccountId
    created_at: int  # Unix ms
    queries: int
    rejected: int
    batches: int

    def job_spec(self) -> JobSpec:
        return JobSpec.model_validate(self.spec)


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def decode(data: bytes) -> Manifest:
    return msgspec.json.decode(data, type=Manifest)
