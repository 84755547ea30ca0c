"""What a job will cost, before anything is spent: a floor, a guess, a ceiling, the bound that holds are cut by, and an
interval where earlier jobs of the task tell."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from pipeline.forecast import Documents, Forecast, forecast
from pipeline.history.past import EXAMPLE_BYTES
from pipeline.ports.judge import PayingJudge
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.sources import UNREADABLE, Row, read_rows
from pipeline.submit.checks import above_reference
from pipeline.submit.spec import Prepared
from pipeline.task.length import fit
from pipeline.task.prompt import build_prompt
from pipeline.wiring.judges import build_agreement, build_paying
from pipeline.wiring.tiers import ENCODER, build_embeddings, build_provider, encoder_of
from schemas.errors import LakeUnreachable
from schemas.ids import Nano, QueryId, TierName
from schemas.job import ClassifyTask, ExtractTask, JobSpec, PayingJudgeBase
from schemas.money import FREE, Usage
from schemas.records import Query, Request

BYTES_PER_TOKEN = 4  # of ordinary Latin text; the guess, never the bound
ESCALATING = 0.3  # share of queries that leave a tier, until a job's own past says better
NEAR = 0.3  # share of answers near enough to the threshold for a judge that is not always asked, likewise
SAMPLE = 2000  # rows read to price a tier


class TierCost(msgspec.Struct, frozen=True, kw_only=True):
    tier: TierName
    expected: Nano  # if every query asks this tier once
    bound: Nano  # the most that could be held for it


class JudgeCost(msgspec.Struct, frozen=True, kw_only=True):
    judge: str
    tier: TierName
    expected: Nano  # if it is asked of one answer of every query
    bound: Nano  # the most that could be held for that
    always: bool  # asked of every answer, not only of those near the threshold


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    queries: int
    tiers: list[TierCost]
    judges: list[JudgeCost]
    audit: Nano  # of pilot and audit, where a certificate is asked for; part of the following
    low: Nano  # every other query stays on the first tier
    expected: Nano  # a fixed share of them leaves each tier
    high: Nano  # every query asks every tier and every judge
    cap: Nano
    forecast: Forecast | None  # None: no earlier jobs of this task and ladder


def estimate(
    prepared: Prepared, cap: Nano, limit: int | None = None, storage: Storage | None = None
) -> Estimate:
    """Priced from the prompt and the first rows, scaled to the number of rows; the forecast from the earlier jobs of
    the lake in `storage`. Sends nothing."""
    documents = _read(prepared, limit)
    count, sample, spec = documents.count, documents.sample, prepared.spec
    asked = spec.without(above_reference(spec)).tiers
    tiers = [_tier_cost(prepared, TierName(tier.name), sample, count) for tier in asked]
    judges = [
        _judge_cost(prepared, judge, sample, count) for judge in build_paying(spec, build_prompt(spec.task))
    ]
    reached = [ESCALATING**position for position in range(len(tiers))]
    guess = sum(round(tier.expected * share) for tier, share in zip(tiers, reached, strict=True))
    always = sum(judge.expected for judge in judges if judge.always)
    guess += round(sum(reached) * (always + NEAR * sum(each.expected for each in judges if not each.always)))
    encoding = _encoder_cost(prepared, sample, count)
    every = sum(each.expected for each in encoding)
    high = every + sum(tier.expected for tier in tiers) + len(tiers) * sum(each.expected for each in judges)
    drawn = min(1.0, spec.quality.drawn / max(count, 1)) if spec.quality else 0.0
    beside = _labels_cost(spec, tiers, count) + round(drawn * _verdicts_cost(prepared, sample, count))
    audit, rest = round(drawn * high) + beside, 1 - drawn
    return Estimate(
        queries=count,
        tiers=[*encoding, *tiers],
        judges=judges,
        audit=Nano(audit),
        low=Nano(audit + round(rest * (every + tiers[0].expected + always))),
        expected=Nano(audit + round(rest * (every + guess))),
        high=Nano(high + beside),
        cap=cap,
        forecast=None if storage is None else _forecast(prepared, storage, documents),
    )


def _labels_cost(spec: JobSpec, tiers: Sequence[TierCost], count: int) -> int:
    """At most: so many rows of each label, asked of the reference once."""
    use = spec.quality
    if use is None or use.per_label is None or isinstance(spec.task, ExtractTask):
        return 0
    labels = spec.task.labels if isinstance(spec.task, ClassifyTask) else spec.task.choices or ()
    rows = min(max(count - use.drawn, 0), len(labels) * use.per_label.audit)
    asked = next((tier.expected for tier in tiers if tier.tier == use.reference), 0)
    return round(asked * rows / max(count, 1))


def _forecast(prepared: Prepared, storage: Storage, documents: Documents) -> Forecast | None:
    spec = prepared.spec
    try:
        return forecast(storage, spec, prepared.prices, build_prompt(spec.task).hash, documents)
    except LakeUnreachable:  # there is none yet
        return None


def _judge_cost(prepared: Prepared, judge: PayingJudge, documents: Sequence[str], count: int) -> JudgeCost:
    spec = prepared.spec
    use = next(each for each in spec.judges if each.name == judge.name)
    assert isinstance(use, PayingJudgeBase)
    name = TierName(use.tier)
    requests = [
        request
        for document in documents
        for _, request in judge.foresee(Query(query_id=QueryId(""), text=document), document)
    ]
    provider = build_provider(spec.tier(name), spec, prepared.prices.get(name, FREE), HttpClient(), None)
    scale = count / len(documents) if documents else 0
    return JudgeCost(
        judge=judge.name,
        tier=name,
        expected=Nano(round(_expected(prepared, name, requests) * scale)),
        bound=Nano(round(sum(map(provider.bound, requests)) * scale)),
        always=use.band is None,
    )


def _verdicts_cost(prepared: Prepared, documents: Sequence[str], count: int) -> int:
    """If of every query each answer below the reference is held against it by a judge."""
    spec, prompt = prepared.spec, build_prompt(prepared.spec.task)
    judge = build_agreement(spec, prompt)
    if judge is None or spec.quality is None or not documents:
        return 0
    longest = prompt.max_output_tokens * BYTES_PER_TOKEN // 2  # few answers are as long as they may be
    requests = [
        request
        for document in documents
        for request in judge.foresee(Query(query_id=QueryId(""), text=document), document, longest)
    ]
    asked = [tier.name for tier in spec.without(above_reference(spec)).tiers]
    compared = len(asked) - (spec.quality.reference in asked)
    return round(compared * _expected(prepared, judge.tier, requests) * count / len(documents))


def _expected(prepared: Prepared, tier: TierName, requests: Sequence[Request]) -> int:
    """Nano-dollars of short replies."""
    price, expected = prepared.prices.get(tier, FREE), 0
    for request in requests:
        size = len(request.system.encode()) + len(request.user.encode("utf-8", "replace"))
        output = max(1, request.max_output_tokens // BYTES_PER_TOKEN)
        expected += price.cost(Usage(input=-(-size // BYTES_PER_TOKEN), output=output))
    return expected


def _read(prepared: Prepared, limit: int | None) -> Documents:
    source = prepared.spec.input
    sample: list[str] = []
    count = size = 0
    kept = (row for row in _rows(prepared.inputs, source.format) if _kept(row, source.where))
    for row in islice(kept, limit):
        text = row.get(source.text)
        if not isinstance(text, str) or not text.strip():
            continue
        count += 1
        size += len(text.encode("utf-8", "replace"))
        if len(sample) < SAMPLE:
            sample.append(text)
    return Documents(count=count, bytes=size, sample=sample)


def _kept(row: Row, where: dict[str, str | list[str]]) -> bool:
    wanted = {name: [value] if isinstance(value, str) else value for name, value in where.items()}
    return UNREADABLE in row or all(str(row.get(name)) in values for name, values in wanted.items())


def _rows(paths: list[Path], kind: str) -> Iterator[Row]:
    for path in paths:
        yield from read_rows(path, kind)


def _encoder_cost(prepared: Prepared, documents: Sequence[str], count: int) -> list[TierCost]:
    """Every query is encoded, whatever tiers it asks; nothing where no endpoint does it."""
    use = encoder_of(prepared.spec)
    if use is None or not documents:
        return []
    price = prepared.prices[ENCODER]
    provider = build_embeddings(use, price, HttpClient())
    expected = bound = 0
    for document in documents:
        shown = "".join(fit(document, use.context_tokens, "head"))
        expected += price.cost(Usage(input=-(-len(shown.encode("utf-8", "replace")) // BYTES_PER_TOKEN)))
        bound += provider.bound(Request(system="", user=shown, max_output_tokens=0, query_id=QueryId("")))
    scale = count / len(documents)
    return [TierCost(tier=ENCODER, expected=Nano(round(expected * scale)), bound=Nano(round(bound * scale)))]


def _tier_cost(prepared: Prepared, name: TierName, documents: Sequence[str], count: int) -> TierCost:
    spec = prepared.spec
    tier, price = spec.tier(name), prepared.prices.get(name, FREE)
    if price == FREE or not documents:
        return TierCost(tier=name, expected=Nano(0), bound=Nano(0))
    prompt = build_prompt(spec.task)
    provider = build_provider(tier, spec, price, HttpClient(), None)
    shared = len(prompt.system.encode()) + (len(msgspec.json.encode(prompt.schema)) if prompt.schema else 0)
    examples = spec.history.examples
    shared += examples * sum(map(len, documents)) // len(documents)
    shown = (("x" * EXAMPLE_BYTES, ""),) * examples
    output = max(1, (tier.max_output_tokens or prompt.max_output_tokens) // BYTES_PER_TOKEN)
    expected = bound = 0
    for document in documents:
        tokens = -(-(shared + len(document.encode("utf-8", "replace"))) // BYTES_PER_TOKEN)
        expected += price.cost(Usage(input=tokens, output=output))
        request = prompt.request(
            QueryId(""), document, logprobs=False, max_output_tokens=tier.max_output_tokens, examples=shown
        )
        bound += provider.bound(request)
    scale = count / len(documents)
    return TierCost(tier=name, expected=Nano(round(expected * scale)), bound=Nano(round(bound * scale)))
