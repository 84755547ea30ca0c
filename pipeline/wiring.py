"""The composition root: the only place that constructs adapters, by URL scheme and by name in the spec.

A new provider, judge or policy is one file of its own and one line here.
"""

import asyncio
import os
import random
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from pipeline.cascade.call import Rung
from pipeline.cascade.judges.agreement import Agreement
from pipeline.cascade.judges.confidence import Confidence
from pipeline.cascade.judges.valid import Valid
from pipeline.cascade.walk import Asking
from pipeline.features.hashing import HashingEncoder
from pipeline.ledger import open_ledger
from pipeline.ports.judge import Judge
from pipeline.ports.policy import Policy
from pipeline.ports.provider import Provider
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.providers.prices import find_price
from pipeline.router.fixed_ladder import FixedLadder
from pipeline.settings import Settings
from pipeline.sources import UNREADABLE, read_rows
from pipeline.storage import open_storage
from pipeline.storage.views import prepare_lake
from pipeline.task.length import estimated_tokens
from pipeline.task.parse import parser_of
from pipeline.task.prompt import JobPrompt, build_prompt
from pipeline.taxonomy.classify import Taxonomy
from pipeline.work import Services, Timing, Work
from schemas import lake, manifest
from schemas.errors import InputError, NoSuchObject, UnknownJob
from schemas.ids import CallId, JobId, TierName
from schemas.job import (
    BedrockTier,
    ClassifyTask,
    JobSpec,
    KeywordTier,
    OpenAITier,
    PriceSpec,
    RecordedTier,
    SimilarityTier,
    SklearnTier,
    Tier,
)
from schemas.manifest import Manifest
from schemas.money import FREE, Price, price_of
from schemas.records import Assignment
from schemas.taxonomy import TaxonomySpec

POLICIES = ("fixed-ladder",)
ENDLESS = 2**40  # room of a tier that reads any length
SAFETY_TOKENS = 64  # left free in a context window, for what the wire format adds


async def open_services(settings: Settings) -> Services:
    """The ledger and the lake, probed: raises LedgerUnreachable, LakeUnreachable or UnconditionalStore."""
    async with AsyncExitStack() as opened:
        storage = open_storage(settings.lake_uri())
        opened.push_async_callback(storage.close)
        await storage.probe()
        await prepare_lake(storage)
        ledger = open_ledger(settings.ledger_url(), clock=now_ms)
        opened.push_async_callback(ledger.close)
        await ledger.probe()
        opened.pop_all()
    return Services(
        ledger=ledger,
        storage=storage,
        http=HttpClient(),
        clock=now_ms,
        new_id=_call_ids(),
        random=random.random,
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}",
        timing=Timing(lease=int(settings.lease_seconds * 1000), batch=int(settings.batch_minutes * 60_000)),
    )


async def close_services(services: Services) -> None:
    await services.http.close()
    await services.ledger.close()
    await services.storage.close()


def _call_ids() -> Callable[[], CallId]:
    """Milliseconds, then 80 random bits, as UUIDv7: new ids lie side by side in the ledger's index. Drawn from a
    generator seeded by the system, so that no id costs a system call."""
    bits = random.Random(int.from_bytes(os.urandom(32))).getrandbits
    return lambda: CallId(f"{now_ms():012x}{bits(80):020x}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def open_work(services: Services, job: JobId) -> Work:
    """A job from its manifest. Raises UnknownJob."""
    try:
        pinned = manifest.decode(await services.storage.read(lake.manifest(job)))
    except NoSuchObject:
        raise UnknownJob(job=job) from None
    spec = pinned.job_spec()
    prompt = build_prompt(spec.task)
    training = {tier: await _fetch(services.storage, key) for tier, key in pinned.files.items()}
    rungs = await asyncio.to_thread(_build_rungs, spec, prompt, pinned, training, services.http)
    for path in training.values():
        path.unlink()
    taxonomy = build_taxonomy(spec)
    return Work(
        services=services,
        manifest=pinned,
        spec=spec,
        asking=_asking(spec, prompt, rungs),
        policy=build_policy(spec, taxonomy),
        taxonomy=taxonomy,
        slow=rungs[TierName(spec.taxonomy.slow_tier)] if spec.taxonomy and spec.taxonomy.slow_tier else None,
    )


async def close_work(work: Work) -> None:
    for rung in work.asking.rungs.values():
        await rung.provider.close()


async def _fetch(storage: Storage, key: str) -> Path:
    handle, name = tempfile.mkstemp(prefix="tierwise-train-", suffix=Path(key).suffix)
    os.close(handle)
    await storage.fetch(key, Path(name))
    return Path(name)


def _asking(spec: JobSpec, prompt: JobPrompt, rungs: Mapping[TierName, Rung]) -> Asking:
    labels = spec.task.labels if isinstance(spec.task, ClassifyTask) else []
    return Asking(
        prompt=prompt,
        parse=parser_of(spec.task),
        rungs=rungs,
        judges=build_judges(),
        masked=spec.task.mask,
        too_long=spec.input.too_long,
        max_tokens=spec.input.max_tokens,
        min_confidence={label.name: label.min_confidence for label in labels if label.min_confidence},
    )


def build_judges() -> list[Judge]:
    return [Valid(), Confidence(), Agreement()]


def build_policy(spec: JobSpec, taxonomy: Taxonomy | None) -> Policy:
    """By the name before the "@"; `schemas` checked its form, `submit` that it is known."""

    def allowed(assignment: Assignment) -> frozenset[TierName] | None:
        return taxonomy.allowed(assignment) if taxonomy else None

    names = [TierName(tier.name) for tier in spec.tiers]
    return FixedLadder(names, [tier.accept for tier in spec.tiers], allowed)


def build_taxonomy(spec: JobSpec) -> Taxonomy | None:
    use = spec.taxonomy
    if use is None:
        return None
    assert isinstance(use.tree, TaxonomySpec)  # submit read the file in
    return Taxonomy(
        use.tree, HashingEncoder(), familiar_margin=use.familiar_margin, slow_weight=use.slow_weight
    )


def _build_rungs(
    spec: JobSpec, prompt: JobPrompt, pinned: Manifest, training: Mapping[TierName, Path], http: HttpClient
) -> dict[TierName, Rung]:
    rungs = {}
    for tier in spec.tiers:
        name = TierName(tier.name)
        provider = build_provider(tier, spec, pinned.prices.get(name, FREE), http, training.get(name))
        rungs[name] = Rung(
            name=name,
            provider=provider,
            slots=asyncio.Semaphore(tier.max_concurrency),
            begun=asyncio.Semaphore(2 * tier.max_concurrency),
            trust=tier.trust,
            retries=getattr(tier, "retries", 0),
            logprobs=isinstance(tier, OpenAITier) and tier.logprobs,
            max_output_tokens=getattr(tier, "max_output_tokens", None),
            room=room_of(tier, prompt),
        )
    return rungs


def room_of(tier: Tier, prompt: JobPrompt) -> int:
    """Estimated tokens of the longest document a tier can read."""
    if not isinstance(tier, OpenAITier | BedrockTier):
        return ENDLESS
    output = tier.max_output_tokens or prompt.max_output_tokens
    return max(0, tier.context_tokens - estimated_tokens(prompt.system) - output - SAFETY_TOKENS)


def build_provider(tier: Tier, spec: JobSpec, price: Price, http: HttpClient, train: Path | None) -> Provider:
    """Late imports: a job loads only what its tiers need."""
    task = spec.task
    multiple = isinstance(task, ClassifyTask) and task.mode == "multi"
    match tier:
        case OpenAITier():
            from pipeline.providers.openai import OpenAIProvider

            return OpenAIProvider(
                tier=tier.name,
                model=tier.model,
                base_url=tier.base_url,
                api_key_env=tier.api_key_env,
                price=price,
                http=http,
                structured=tier.structured,
                logprobs=tier.logprobs,
                timeout_s=tier.timeout_s,
                max_tokens_field=tier.max_tokens_field,
                extra_body=tier.extra,
            )
        case BedrockTier():
            from pipeline.providers.bedrock import BedrockProvider

            return BedrockProvider(
                tier=tier.name,
                model=tier.model,
                region=tier.region,
                endpoint_url=tier.endpoint_url,
                price=price,
                timeout_s=tier.timeout_s,
            )
        case KeywordTier():
            from pipeline.providers.keyword import KeywordTier as KeywordProvider

            assert isinstance(tier.keywords, dict)  # submit read the file in
            return KeywordProvider(keywords=tier.keywords, multiple=multiple)
        case SimilarityTier():
            from pipeline.providers.similarity import SimilarityTier as SimilarityProvider

            labels = task.labels if isinstance(task, ClassifyTask) else []
            return SimilarityProvider(labels=labels, encoder=HashingEncoder(), multiple=multiple)
        case SklearnTier():
            from pipeline.providers.sklearn import SklearnTier as SklearnProvider

            assert train is not None
            texts, wanted = read_training(tier, train)
            return SklearnProvider(texts=texts, labels=wanted)
        case RecordedTier():
            from pipeline.providers.outcomes import OutcomesFile
            from pipeline.providers.recorded import RecordedProvider

            return RecordedProvider(
                tier=tier.name,
                outcomes=OutcomesFile(tier.outcomes),
                dataset=tier.dataset,
                model=tier.model,
                price=price if tier.price else None,
            )


def read_training(tier: SklearnTier, path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a tier's training file. Raises InputError naming the column that is missing."""
    texts, labels = [], []
    for row in read_rows(path, "auto"):
        if UNREADABLE in row:
            raise InputError(path=tier.train, why=row[UNREADABLE], fix="Correct that line.")
        for column in (tier.text, tier.label):
            if column not in row:
                fix = f"Set tiers.{tier.name}.text and .label to its columns: {', '.join(row)}."
                raise InputError(path=tier.train, why=f"it has no column {column!r}", fix=fix)
        texts.append(str(row[tier.text]))
        labels.append(str(row[tier.label]))
    if len(set(labels)) < 2:
        raise InputError(path=tier.train, why="it needs examples of at least two labels")
    return texts, labels


def price_tier(tier: Tier) -> Price | None:
    """The spec's own price, else the price library's; None for tiers that bill nothing. Raises UnpricedModel."""
    own: PriceSpec | None = getattr(tier, "price", None)
    if own is not None:
        return price_of(**own.model_dump())
    if isinstance(tier, OpenAITier):
        return find_price(
            tier=tier.name,
            provider="openai",
            model=tier.model,
            base_url=tier.base_url,
            context_tokens=tier.context_tokens,
        )
    if isinstance(tier, BedrockTier):
        return find_price(
            tier=tier.name, provider="bedrock", model=tier.model, context_tokens=tier.context_tokens
        )
    return None
