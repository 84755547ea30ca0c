"""A closed job whose queries ended for review, written into a lake by hand: any task, no tier asked."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline.ports.storage import Storage
from pipeline.storage.final import write_final
from pipeline.storage.views import prepare_lake
from schemas import lake, manifest
from schemas.ids import AccountId, JobId
from schemas.job import JobSpec
from schemas.manifest import Manifest
from tests.contract.storage.rows import filled

JOB = JobId("sorted")
CLASSIFY: dict[str, Any] = {
    "kind": "classify",
    "instructions": "Sort the message.",
    "labels": [
        {"name": "billing", "description": "invoices, refunds"},
        {"name": "outage", "description": "nothing works"},
        {"name": "=account"},
        {"name": "other"},
    ],
}
MULTI: dict[str, Any] = {"kind": "classify", "mode": "multi", "labels": ["billing", "outage", "praise"]}
EXTRACT: dict[str, Any] = {
    "kind": "extract",
    "schema": {
        "type": "object",
        "properties": {"total": {"type": "number"}, "currency": {"type": "string", "maxLength": 3}},
        "required": ["total"],
        "additionalProperties": False,
    },
}
FREE: dict[str, Any] = {"kind": "answer", "instructions": "Answer."}
WHY = "confidence 0.55 below the label's 0.90"


def said(answer: Any) -> str:
    """An answer as it stands in tables."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, sort_keys=True)


async def queued(
    storage: Storage,
    task: dict[str, Any],
    texts: Sequence[str],
    answers: Sequence[tuple[Any, Any]],
    job: JobId = JOB,
) -> JobId:
    """Query q0 was answered, q1 … of these texts were not: `answers` are what their two tiers said, the second one's
    is the best there is."""
    await prepare_lake(storage)
    names = [f"q{number}" for number in range(len(texts) + 1)]
    waiting, count = names[1:], len(texts)
    last = [said(second) for _, second in answers]
    await write_final(
        storage,
        "documents",
        job,
        filled(
            "documents",
            names,
            job=job,
            text=["settled", *texts],
            fields='{"from": "a@b.example"}',
            gold=[None] * len(names),
            rejected=[None] * len(names),
        ),
    )
    await write_final(
        storage,
        "results",
        job,
        filled(
            "results",
            names,
            job=job,
            status=["answered"] + ["review"] * count,
            answer=[said(answers[0][0]), *last],
            confidence=[0.99] + [0.5 + number / 100 for number in range(1, count + 1)],
            tier="large",
            category="",
            reason=["last tier of the plan"] + [WHY] * count,
            cost_usd=[123_000] * len(names),
        ),
    )
    pairs = [(name, place) for name in waiting for place in (0, 1)]
    flat = [said(answers[waiting.index(name)][place]) for name, place in pairs]
    await write_final(
        storage,
        "decisions",
        job,
        filled(
            "decisions",
            [name for name, _ in pairs],
            job=job,
            step=0,
            position=[place for _, place in pairs],
            tier=[("small", "large")[place] for _, place in pairs],
            answer=flat,
            confidence=[(0.4, 0.55)[place] for _, place in pairs],
            accepted=False,
            reason=WHY,
        ),
    )
    await write_final(
        storage,
        "votes",
        job,
        filled(
            "votes",
            [name for name, _ in pairs],
            job=job,
            step=0,
            position=[place for _, place in pairs],
            judge="confidence",
            score=[(0.4, 0.55)[place] for _, place in pairs],
            reason="",
        ),
    )
    await storage.write(lake.manifest(job), manifest.encode(_manifest(task, job, len(names))))
    await write_final(storage, "jobs", job, filled("jobs", ["one"], job=job, review=count))
    return job


def _manifest(task: dict[str, Any], job: JobId, queries: int) -> Manifest:
    tier = {"name": "large", "provider": "openai", "model": "m", "api_key_env": None,
            "price": {"input": Decimal(1), "output": Decimal(1)}}  # fmt: skip
    spec = JobSpec.model_validate(
        {
            "version": 1,
            "name": "sorted",
            "task": task,
            "input": {"path": "rows.csv", "id": "id"},
            "tiers": [tier],
            "budget": {"usd": "1"},
        }
    )
    return Manifest(
        job=job,
        spec=spec.model_dump(mode="json", by_alias=True),
        spec_hash="s",
        prompt_hash="p",
        policy_version="fixed-ladder@1",
        prices={},
        files={},
        account=AccountId(f"job/{job}"),
        created_at=0,
        queries=queries,
        rejected=0,
        batches=1,
    )
