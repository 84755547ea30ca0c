"""A job from its manifest: everything `flow` and `close` need."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pipeline.accepted import open_past
from pipeline.cascade import worth
from pipeline.cascade.bench import Judging
from pipeline.cascade.rung import Rung
from pipeline.cascade.walk import Asking
from pipeline.combiner import read_combiner
from pipeline.history.journal import JournalHistory
from pipeline.learning.learner import Learner
from pipeline.ports.storage import Storage
from pipeline.router.policies import SCORINGS
from pipeline.task.parse import parser_of
from pipeline.task.prompt import JobPrompt, build_prompt
from pipeline.taxonomy.classify import Taxonomy
from pipeline.wiring.judges import build_agreement, build_judging
from pipeline.wiring.policies import build_learner, build_policy, build_taxonomy, certified_policy
from pipeline.wiring.tiers import ENCODER, build_encoder_rung, build_rungs, encoder_of
from pipeline.work import Services, Work
from schemas import lake, manifest
from schemas.errors import NoSuchObject, UnknownJob
from schemas.ids import JobId, TierName
from schemas.job import AnswerTask, ClassifyTask, ExtractTask, JobSpec

MANY = 100  # answers there could be where nobody listed them


async def open_work(services: Services, job: JobId, kind: str | None = None) -> Work:
    """A job from its manifest, as it is or as if this kind of policy routed it. Raises UnknownJob."""
    try:
        pinned = manifest.decode(await services.storage.read(lake.manifest(job)))
    except NoSuchObject:
        raise UnknownJob(job=job) from None
    spec = pinned.job_spec()
    if kind is not None:
        same = spec.policy.kind == kind
        changes = {"name": kind, "alpha": spec.policy.alpha if same else None}
        spec = spec.model_copy(update={"policy": spec.policy.model_copy(update=changes)})
    prompt = build_prompt(spec.task)
    training = {tier: await _fetch(services.storage, key) for tier, key in pinned.files.items()}
    rungs = await asyncio.to_thread(build_rungs, spec, prompt, pinned, training, services)
    for path in training.values():
        path.unlink()
    taxonomy = build_taxonomy(spec)
    student = None if pinned.student is None else await services.storage.read(pinned.student)
    combiner = await read_combiner(services.storage, pinned.combiner)
    judging = await asyncio.to_thread(build_judging, spec, prompt, combiner, student)
    models = {name: rung.provider.model for name, rung in rungs.items()}
    learner, endpoint = None, encoder_of(spec)
    if spec.policy.kind in SCORINGS:
        learner = build_learner(services.storage, spec, taxonomy, pinned, models)
    return Work(
        services=services,
        manifest=pinned,
        spec=spec,
        asking=_asking(spec, prompt, rungs, judging, taxonomy),
        policy=build_policy(spec, taxonomy, pinned.prices),
        learner=learner,
        taxonomy=taxonomy,
        history=None
        if pinned.reuse_since is None
        else JournalHistory(services.ledger, pinned.job, pinned.reuse_since),
        past=await open_past(services.storage, pinned, spec, taxonomy),
        encoder=build_encoder_rung(endpoint, pinned.prices[ENCODER], services) if endpoint else None,
        encoded=JournalHistory(services.ledger, pinned.job, 0),
        slow=rungs[TierName(spec.taxonomy.slow_tier)] if spec.taxonomy and spec.taxonomy.slow_tier else None,
        agreement=build_agreement(spec, prompt),
        certified=partial(certified_policy, taxonomy),
        seen={name: worth.Tier(trust=rung.trust) for name, rung in rungs.items()},
    )


async def open_learner(services: Services, job: JobId, kind: str) -> Learner:
    """What that kind of policy learns from a job, whatever the job itself was routed by. Raises UnknownJob."""
    work = await open_work(services, job, kind)
    await close_work(work)
    assert work.learner is not None
    return work.learner


async def close_work(work: Work) -> None:
    for rung in filter(None, (*work.asking.rungs.values(), work.encoder)):
        await rung.pace.close()
        await rung.provider.close()


async def _fetch(storage: Storage, key: str) -> Path:
    handle, name = tempfile.mkstemp(prefix="tierwise-train-", suffix=Path(key).suffix)
    os.close(handle)
    await storage.fetch(key, Path(name))
    return Path(name)


def _asking(
    spec: JobSpec,
    prompt: JobPrompt,
    rungs: Mapping[TierName, Rung],
    judging: Judging,
    taxonomy: Taxonomy | None,
) -> Asking:
    labels = spec.task.labels if isinstance(spec.task, ClassifyTask) else []
    return Asking(
        prompt=prompt,
        parse=parser_of(spec.task),
        rungs=rungs,
        judging=judging,
        masked=spec.task.mask,
        too_long=spec.input.too_long,
        max_tokens=_longest(spec, rungs),
        choices=choices_of(spec.task),
        min_confidence={label.name: label.min_confidence for label in labels if label.min_confidence},
        allowed=taxonomy.allowed if taxonomy else lambda assignment: None,
    )


def _longest(spec: JobSpec, rungs: Mapping[TierName, Rung]) -> int | None:
    """Tokens of a document. Under a certificate every plan cuts alike, so that all ask the same."""
    if spec.promise is None or spec.input.too_long == "reject":
        return spec.input.max_tokens
    rooms = [rung.room for rung in rungs.values()]
    return min(rooms if spec.input.max_tokens is None else [spec.input.max_tokens, *rooms])


def choices_of(task: ClassifyTask | ExtractTask | AnswerTask) -> int:
    """Answers there could be."""
    if isinstance(task, ClassifyTask):
        return MANY if task.mode == "multi" else len(task.labels)
    return len(task.choices) if isinstance(task, AnswerTask) and task.choices else MANY
