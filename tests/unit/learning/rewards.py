"""Reward files made by hand, and a learner over them: three tiers that differ in price and skill."""

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.learning.learner import Learner
from pipeline.learning.rewards import query_keys
from pipeline.ports.storage import Storage
from pipeline.storage.memory import MemoryStorage
from pipeline.task.prompt import build_prompt
from pipeline.wiring.policies import build_learner
from schemas import lake
from schemas.ids import AccountId, JobId, TierName
from schemas.job import JobSpec
from schemas.manifest import Manifest
from schemas.money import price_of
from schemas.tables import REWARDS, TIME
from tests.faults.desk import job_spec, tier

TIERS = tuple(map(TierName, ("t0", "t1", "t2")))
PRICES = {
    TierName(f"t{number}"): price_of(input=Decimal(usd), output=Decimal(usd))
    for number, usd in enumerate(("1", "3", "9", "27"))
}


def spec_of(policy: str | Mapping[str, Any] = "epsilon-greedy", tiers: int = 3) -> JobSpec:
    """A ladder that believes nobody but its last tier."""
    return job_spec([tier(number, model=f"m{number}") for number in range(tiers)], policy=policy)


def learner_of(
    policy: str | Mapping[str, Any] = "epsilon-greedy",
    storage: Storage | None = None,
    spec: JobSpec | None = None,
    models: Mapping[TierName, str] | None = None,
) -> Learner:
    spec = spec or spec_of(policy)
    pinned = Manifest(
        job=JobId("j"), spec=spec.model_dump(mode="json", by_alias=True), spec_hash="s",
        prompt_hash=build_prompt(spec.task).hash, policy_version="", prices=PRICES, files={},
        account=AccountId("job/j"), created_at=0, queries=0, rejected=0, batches=0,
    )  # fmt: skip
    asked = models or {TierName(each.name): getattr(each, "model", "") for each in spec.tiers}
    return build_learner(storage or MemoryStorage(), spec, None, pinned, asked)


def answers(
    learner: Learner,
    job: str,
    skill: Sequence[float] = (0.99, 0.8, 0.95),
    queries: int = 600,
    seed: int = 0,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Queries q0, q1, … that every tier was asked of in turn; only the last was believed."""
    random = np.random.default_rng(seed)
    names = [f"q{number}" for number in range(queries)]
    keys = query_keys(JobId(job), names).tolist()
    arms = [f"{name} m{name[1:]}" for name in TIERS]
    rows = []
    for name, key in zip(names, keys, strict=True):
        features = random.normal(0, 0.1, learner.features.dimensions)
        features[:3] = 1, 0.1, 0.1
        for position, each in enumerate(skill):
            rows.append(
                {
                    "call_id": f"{job}-{name}-{position}", "job": job, "query_id": name, "tier": TIERS[position],
                    "model": f"m{position}", "category": "", "familiar": False, "answer": "a",
                    "reward": float(random.random() < each), "label_source": "gold", "weight": 1.0,
                    "p_labelled": 1.0, "labelled_at": 1_000, "finished_at": 1_000,
                    "cost_usd": Decimal("0.0001"), "input_tokens": 100, "cached_input_tokens": 0,
                    "cache_write_tokens": 0, "output_tokens": 5, "reasoning_tokens": 0,
                    "latency_ms": 20, "score": None, "confidence": 0.6, "stands": position == len(skill) - 1,
                    "position": position, "tiers_left": arms[:position], "tiers_planned": list(TIERS),
                    "accept_planned": [1.0] * 3, "replans": False, "route": "ladder",
                    "policy_version": "epsilon-greedy@0", "propensity": 0.96, "audited": False,
                    "query_key": key, "features": features,
                    "selected_by": None, "selected_score": None, **changes,
                }
            )  # fmt: skip
    return rows


async def reward(learner: Learner, rows: Sequence[Mapping[str, Any]], digest: str = "d") -> str:
    """The rows as a reward file."""
    columns = {field.name: [row[field.name] for row in rows] for field in REWARDS}
    arrays = [
        pa.array(columns[field.name], pa.int64()).cast(field.type) if field.type == TIME
        else pa.array(columns[field.name], field.type)
        for field in REWARDS
    ]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=REWARDS), buffer)
    key = lake.reward(learner.scope, JobId(rows[0]["job"]), digest)
    await learner.storage.write(key, buffer.getvalue())
    return key
