"""The judges' weights by night: fitted on labels when a job closes, kept where they are no worse, pinned at submit."""

import asyncio
import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from importlib.resources import files

import msgspec
from pydantic import ValidationError

from pipeline.cascade.calibrate import Fitness, Labelled, calibrate, fitness
from pipeline.cascade.combine import STATED, Combiner
from pipeline.learning.fitting import HELD_OUT
from pipeline.learning.rewards import query_keys
from pipeline.ports.storage import Storage
from pipeline.storage.sql import named
from pipeline.storage.views import ask, connect
from schemas import lake
from schemas.ids import JobId
from schemas.job import JobSpec
from schemas.manifest import Manifest

FEWEST = 100  # labelled answers
FEWEST_HELD = 20  # of them, those that judge the weights and train none
MOST_JOBS = 50  # the latest
log = logging.getLogger("tierwise.combiner")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A version: the weights, what they were fitted on, and how they did on what they were not."""

    combiner: Combiner
    jobs: tuple[JobId, ...]
    answers: int  # fitted on
    held_out: Fitness
    before: Fitness  # of the version that stood, on the same answers


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    jobs: tuple[JobId, ...]
    train: list[Labelled]
    held: list[Labelled]  # of queries that no one chose to label


def scope_of(spec: JobSpec, prompt_hash: str) -> str:
    """What is asked and who judges it, by which models: weights say nothing of other judges."""
    judges = [judge.model_dump(mode="json") for judge in spec.judges]
    models = {judge.tier: spec.tier(judge.tier).model for judge in spec.judges if hasattr(judge, "tier")}
    return hashlib.sha256(json.dumps([prompt_hash, judges, models], sort_keys=True).encode()).hexdigest()[:12]


async def pick_combiner(storage: Storage, spec: JobSpec, prompt_hash: str) -> str | None:
    """Key of the version that stands; None: the stated weights do."""
    if spec.combiner == "stated":
        return None
    kept = await storage.list(lake.combiners(scope_of(spec, prompt_hash)))
    return kept[-1] if kept else None


async def read_combiner(storage: Storage, key: str | None) -> Combiner:
    return STATED if key is None else (await _read(storage, key)).combiner


async def fit_combiner(storage: Storage, pinned: Manifest, now: int) -> Kept | None:
    """Keep new weights where, on queries that trained none, they are no worse than those that stand. The same labels
    give the same version, kept once. None: nothing new stands."""
    spec = JobSpec.model_validate(pinned.spec)
    if spec.combiner == "stated":
        return None
    scope = scope_of(spec, pinned.prompt_hash)
    found = await asyncio.to_thread(read_evidence, storage, pinned.prompt_hash, spec, scope)
    if len(found.train) + len(found.held) < FEWEST or len(found.held) < FEWEST_HELD:
        return None
    made = await asyncio.to_thread(calibrate, found.train)
    made = msgspec.structs.replace(made, version=_version(made, found))
    stands = await storage.list(lake.combiners(scope))
    if any(key.endswith(made.version) for key in stands):
        return None
    before = fitness(await read_combiner(storage, stands[-1] if stands else None), found.held)
    after = fitness(made, found.held)
    if after.brier > before.brier or after.log_loss > before.log_loss:
        log.info("weights of the judges fitted on %s answers are worse: not kept", len(found.train))
        return None
    kept = Kept(combiner=made, jobs=found.jobs, answers=len(found.train), held_out=after, before=before)
    await storage.create(lake.combiner(scope, now, made.version), msgspec.json.encode(kept))
    return kept


async def _read(storage: Storage, key: str) -> Kept:
    return msgspec.json.decode(await storage.read(key), type=Kept)


def _version(made: Combiner, found: Evidence) -> str:
    body = msgspec.json.encode([made, found.jobs, len(found.train)])
    return hashlib.sha256(body).hexdigest()[:12]


def read_evidence(storage: Storage, prompt_hash: str, spec: JobSpec, scope: str) -> Evidence:
    """Blocking."""
    statements = named(files("pipeline").joinpath("combiner.sql").read_text(encoding="utf-8"))
    trust = {tier.name: tier.trust for tier in spec.tiers}
    with connect(storage) as connection:
        asked = {"prompt_hash": prompt_hash, "most": MOST_JOBS}
        specs = ask(connection, statements["jobs"], asked).fetchall()
        jobs = [JobId(job) for job, written in specs if _same(written, prompt_hash, scope)]
        rows = ask(connection, statements["labelled"], {"jobs": jobs}).fetchall() if jobs else []
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    answers: dict[str, tuple[JobId, str, str, bool, bool]] = {}
    for job, query, call, tier, right, fair, judge, score in rows:
        if tier in trust:
            scores[call][judge] = score
            answers[call] = (job, query, tier, right, fair)
    return _split(tuple(jobs), answers, scores, trust)


def _split(
    jobs: tuple[JobId, ...],
    answers: Mapping[str, tuple[JobId, str, str, bool, bool]],
    scores: Mapping[str, Mapping[str, float]],
    trust: Mapping[str, float],
) -> Evidence:
    train, held = [], []
    for call, (job, query, tier, right, fair) in answers.items():
        row = Labelled(scores=scores[call], trust=trust[tier], right=right)
        if _is_held_out(job, query):
            held += [row] if fair else []
        else:
            train.append(row)
    return Evidence(jobs=jobs, train=train, held=held)


def _is_held_out(job: JobId, query: str) -> bool:
    return bool(query_keys(job, [query])[0] % HELD_OUT == 0)


def _same(written: str, prompt_hash: str, scope: str) -> bool:
    """Whether a job had these very judges."""
    try:
        spec = JobSpec.model_validate_json(written)
    except ValidationError:  # of a version that wrote specs otherwise
        return False
    return scope_of(spec, prompt_hash) == scope
