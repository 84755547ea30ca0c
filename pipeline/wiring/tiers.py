"""Tiers by the provider that the spec names: how each is asked, what it allows, what it costs."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from pipeline.cascade.limits import Allowed
from pipeline.cascade.pace import Pace
from pipeline.cascade.rung import Rung
from pipeline.features.hashing import HashingEncoder
from pipeline.history.past import EXAMPLE_BYTES
from pipeline.ports.provider import Provider
from pipeline.providers.embeddings import OpenAIEmbeddings
from pipeline.providers.http import HttpClient
from pipeline.providers.prices import find_price
from pipeline.router.policies import SCORINGS
from pipeline.sources import UNREADABLE, read_rows
from pipeline.task.length import BYTES_PER_TOKEN, estimated_tokens
from pipeline.task.prompt import JobPrompt
from pipeline.work import Services
from schemas.errors import InputError
from schemas.ids import TierName
from schemas.job import (
    BedrockTier,
    ClassifyTask,
    EndpointEncoder,
    JobSpec,
    KeywordTier,
    OpenAITier,
    PriceSpec,
    RecordedTier,
    SimilarityTier,
    SklearnTier,
    StudentTier,
    Tier,
)
from schemas.manifest import Manifest
from schemas.money import FREE, Price, price_of

ENCODER = TierName(
    "encoder"
)  # the name under which an encoder's endpoint stands in ledger, tables and taxonomy
ENDLESS = 2**40  # room of a tier that reads any length
SAFETY_TOKENS = 64  # left free in a context window, for what the wire format adds


def build_rungs(
    spec: JobSpec, prompt: JobPrompt, pinned: Manifest, training: Mapping[TierName, Path], services: Services
) -> dict[TierName, Rung]:
    rungs = {}
    for tier in spec.tiers:
        name = TierName(tier.name)
        provider = build_provider(
            tier, spec, pinned.prices.get(name, FREE), services.http, training.get(name)
        )
        rungs[name] = Rung(
            name=name,
            provider=provider,
            pace=Pace(name, allowed_of(tier), services.ledger, services.clock),
            trust=tier.trust,
            retries=getattr(tier, "retries", 0),
            logprobs=isinstance(tier, OpenAITier) and tier.logprobs,
            max_output_tokens=getattr(tier, "max_output_tokens", None),
            room=room_of(tier, prompt, spec.history.examples),
        )
    return rungs


def encoder_of(spec: JobSpec) -> EndpointEncoder | None:
    """The endpoint that the spec's policy is to learn by."""
    use = spec.policy.encoder
    return use if isinstance(use, EndpointEncoder) and spec.policy.kind in SCORINGS else None


def build_encoder_rung(use: EndpointEncoder, price: Price, services: Services) -> Rung:
    """While the endpoint is down queries are planned without it: none waits."""
    allowed = Allowed(
        upstream=" ".join(filter(None, (use.provider, use.model, use.base_url, use.api_key_env))),
        most=use.max_concurrency,
        requests=use.limits.requests_per_minute,
        tokens=use.limits.tokens_per_minute,
        skips=True,
    )
    return Rung(
        name=ENCODER,
        provider=build_embeddings(use, price, services.http),
        pace=Pace(ENCODER, allowed, services.ledger, services.clock),
        trust=0.0,
        retries=use.retries,
        logprobs=False,
        max_output_tokens=0,
        room=max(0, use.context_tokens - SAFETY_TOKENS),
    )


def build_embeddings(use: EndpointEncoder, price: Price, http: HttpClient) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(
        tier=ENCODER,
        model=use.model,
        base_url=use.base_url,
        api_key_env=use.api_key_env,
        price=price,
        http=http,
        dimensions=use.dimensions,
        shortened=use.shortened,
        timeout_s=use.timeout_s,
    )


def allowed_of(tier: Tier) -> Allowed:
    """What the spec says of asking a tier; jobs that ask one model at one endpoint with one key share its limits."""
    if isinstance(tier, RecordedTier):
        return Allowed(upstream=f"recorded {tier.model} {tier.outcomes}", most=tier.max_concurrency)
    if not isinstance(tier, OpenAITier | BedrockTier):
        return Allowed(upstream=f"{tier.provider} {tier.name}", most=tier.max_concurrency)
    if isinstance(tier, OpenAITier):
        place, key = tier.base_url, tier.api_key_env or ""
    else:
        place, key = tier.endpoint_url or tier.region or "", ""
    skips = tier.when_down == "skip"
    return Allowed(
        upstream=" ".join(filter(None, (tier.provider, tier.model, place, key))),
        most=tier.max_concurrency,
        requests=tier.limits.requests_per_minute,
        tokens=tier.limits.tokens_per_minute,
        skips=skips,
        patience_ms=0 if skips else int(tier.patience_s * 1000),
    )


def room_of(tier: Tier, prompt: JobPrompt, examples: int) -> int:
    """Estimated tokens of the longest document a tier can read, shown so many examples."""
    if not isinstance(tier, OpenAITier | BedrockTier):
        return ENDLESS
    output = tier.max_output_tokens or prompt.max_output_tokens
    shown = examples * -(-EXAMPLE_BYTES // BYTES_PER_TOKEN)
    return max(0, tier.context_tokens - estimated_tokens(prompt.system) - shown - output - SAFETY_TOKENS)


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
        case StudentTier():
            from pipeline.providers.student import StudentTier as StudentProvider
            from pipeline.providers.student import decode

            assert train is not None  # else submit set it aside
            return StudentProvider(decode(train.read_bytes()), kept_from=tier.kept_from)
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


def price_encoder(use: EndpointEncoder) -> Price:
    """The spec's own price, else the price library's. Raises UnpricedModel."""
    if use.price is not None:
        return price_of(input=use.price.input, output=Decimal(0), request=use.price.request)
    return find_price(
        tier=ENCODER,
        provider=use.provider,
        model=use.model,
        base_url=use.base_url,
        context_tokens=use.context_tokens,
        answers=False,
    )
