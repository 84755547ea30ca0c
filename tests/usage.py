"""Both sides of a comparison with a provider's usage export: what jobs asked, and what was billed."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipeline.ports.ledger import CallRow
from pipeline.reconcile.compare import Comparison, compare
from pipeline.reconcile.ours import Asked, Offer, Ours
from pipeline.reconcile.usage import Billed, Export, days_between
from schemas.ids import BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Price, Usage, price_of

JOB, TIER = JobId("job"), TierName("small")
DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=9)
PRICE = price_of(input=Decimal("1"), cached_input=Decimal("0.5"), output=Decimal("4"))  # 1000, 500, 4000 nano


def asked(input: int = 0, output: int = 0, *, requests: int = 1, price: Price = PRICE, **more: Any) -> Asked:
    """Settled calls at what they cost, rounded up once for all."""
    usage = more.pop("usage", Usage(input=input, output=output))
    given = {"job": JOB, "tier": TIER, "model": "m", "day": DAY, "cost": price.cost(usage)}
    return Asked(usage=usage, requests=requests, **{**given, **more})


def presumed(number: int, hold: int = 1_000_000, at: datetime = NOON, **more: Any) -> CallRow:
    given = {
        "call_id": CallId(f"c{number}"), "job": JOB, "generation": Generation(1), "batch": BatchIndex(0),
        "query_id": QueryId(f"q{number}"), "step": 0, "purpose": "answer", "tier": TIER, "model": "m",
        "lane": "realtime", "sample": 0, "attempt": 1, "outcome": "presumed", "finish_reason": "", "usage": Usage(),
        "held": Nano(hold), "cost": Nano(hold), "presumed": True, "latency_ms": 0,
        "sent_at": 0, "held_at": int(at.timestamp() * 1000), "request_hash": b"", "error": "",
    }  # fmt: skip
    return CallRow(**{**given, **more})


def billed(input: int = 0, output: int = 0, *, model: str = "m", day: date = DAY, **more: Any) -> Billed:
    tokens = more.pop("tokens", {"input": input, "cached_input": 0, "output": output})
    return Billed(model=model, day=day, tokens=tokens, **more)


def export(*lines: Billed, first: date = DAY, last: date = DAY + timedelta(days=1), **more: Any) -> Export:
    return Export(form="openai", billed=lines, days=frozenset(days_between(first, last)), **more)


def ours(
    settled: Iterable[Asked] = (),
    unknown: Iterable[CallRow] = (),
    prices: Sequence[Price] = (PRICE,),
    **more: Any,
) -> Ours:
    """Tiers `small`, `small1` … of one model, a price each."""
    names = [TierName(f"{TIER}{number or ''}") for number in range(len(prices))]
    given = {"model": "m", "expected": True} | more
    offers = {(JOB, name): Offer(price=price, **given) for name, price in zip(names, prices, strict=True)}
    return Ours(asked=tuple(settled), presumed=tuple(unknown), offers=offers)


def compared(us: Ours, them: Export, now: datetime = LATER, **names: str) -> Comparison:
    return compare(us, them, names, (min(them.days), max(them.days)), now)


def kinds(found: Comparison) -> list[list[str]]:
    return [[each.kind for each in one.differences] for one in found.compared]
