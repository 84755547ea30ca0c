"""What a job will cost, before anything is spent: a floor, a guess, a ceiling, and the bound that holds are cut by."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from pipeline.providers.http import HttpClient
from pipeline.sources import UNREADABLE, Row, read_rows
from pipeline.submit import Prepared
from pipeline.task.prompt import build_prompt
from pipeline.wiring import build_provider
from schemas.ids import Nano, QueryId, TierName
from schemas.money import FREE, Usage

BYTES_PER_TOKEN = 4  # of ordinary Latin text; the guess, never the bound
ESCALATING = 0.3  # share of queries that leave a tier, until a job's own past says better
SAMPLE = 2000  # rows read to price a tier


class TierCost(msgspec.Struct, frozen=True, kw_only=True):
    tier: TierName
    expected: Nano  # if every query asks this tier once
    bound: Nano  # the most that could be held for it


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    queries: int
    tiers: list[TierCost]
    low: Nano  # every query stays on the first tier
    expected: Nano  # a fixed share leaves each tier
    high: Nano  # every query asks every tier
    cap: Nano


def estimate(prepared: Prepared, cap: Nano, limit: int | None = None) -> Estimate:
    """Priced from the prompt and the first rows, scaled to the number of rows. Sends nothing."""
    documents, count = _sample(prepared, limit)
    tiers = [_tier_cost(prepared, TierName(tier.name), documents, count) for tier in prepared.spec.tiers]
    reached = [ESCALATING**position for position in range(len(tiers))]
    guess = sum(round(tier.expected * share) for tier, share in zip(tiers, reached, strict=True))
    return Estimate(
        queries=count,
        tiers=tiers,
        low=tiers[0].expected,
        expected=Nano(guess),
        high=Nano(sum(tier.expected for tier in tiers)),
        cap=cap,
    )


def _sample(prepared: Prepared, limit: int | None) -> tuple[list[str], int]:
    source = prepared.spec.input
    documents: list[str] = []
    count = 0
    kept = (row for row in _rows(prepared.inputs, source.format) if _kept(row, source.where))
    for row in islice(kept, limit):
        text = row.get(source.text)
        if not isinstance(text, str) or not text.strip():
            continue
        count += 1
        if len(documents) < SAMPLE:
            documents.append(text)
    return documents, count


def _kept(row: Row, where: dict[str, str | list[str]]) -> bool:
    wanted = {name: [value] if isinstance(value, str) else value for name, value in where.items()}
    return UNREADABLE in row or all(str(row.get(name)) in values for name, values in wanted.items())


def _rows(paths: list[Path], kind: str) -> Iterator[Row]:
    for path in paths:
        yield from read_rows(path, kind)


def _tier_cost(prepared: Prepared, name: TierName, documents: list[str], count: int) -> TierCost:
    spec = prepared.spec
    tier, price = spec.tier(name), prepared.prices.get(name, FREE)
    if price == FREE or not documents:
        return TierCost(tier=name, expected=Nano(0), bound=Nano(0))
    prompt = build_prompt(spec.task)
    provider = build_provider(tier, spec, price, HttpClient(), None)
    shared = len(prompt.system.encode()) + (len(msgspec.json.encode(prompt.schema)) if prompt.schema else 0)
    output = max(1, (tier.max_output_tokens or prompt.max_output_tokens) // BYTES_PER_TOKEN)
    expected = bound = 0
    for document in documents:
        tokens = -(-(shared + len(document.encode("utf-8", "replace"))) // BYTES_PER_TOKEN)
        expected += price.cost(Usage(input=tokens, output=output))
        request = prompt.request(
            QueryId(""), document, logprobs=False, max_output_tokens=tier.max_output_tokens
        )
        bound += provider.bound(request)
    scale = count / len(documents)
    return TierCost(tier=name, expected=Nano(round(expected * scale)), bound=Nano(round(bound * scale)))
