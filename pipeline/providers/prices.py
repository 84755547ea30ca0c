"""List prices from genai-prices, which ships its data: nothing is downloaded, and nothing updates itself."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.providers.loopback import is_loopback
from schemas.errors import UnpricedModel
from schemas.money import Price, price_of

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

_LIBRARY_NAMES = {"bedrock": "aws"}
_CLASSES = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
}
# Prices of what a text request never asks for: other media, search tools, caches kept for an hour.
_ELSEWHERE = ("audio", "image", "video", "document", "searches", "hours", "cache_write_1h")


class _Doubt(Exception):
    """Why the library's entry is no price we may count with."""


def find_price(
    *,
    tier: str,
    provider: str,
    model: str,
    base_url: str | None = None,
    context_tokens: int | None = None,
    answers: bool = True,
) -> Price:
    """The list price of today. `context_tokens` is the longest input the tier will be given: it settles the
    price of models that cost more from some length on. `answers`: it writes tokens, which need a price too.

    Raises UnpricedModel for a model that is unknown, served on this machine, or priced ambiguously.
    """
    try:
        return _price(_listed(provider, model, base_url), context_tokens, answers)
    except _Doubt as doubt:
        raise UnpricedModel(tier=tier, model=model, why=str(doubt)) from None


def _listed(provider: str, model: str, base_url: str | None) -> "ModelPrice":
    from genai_prices.data_snapshot import get_snapshot

    if base_url and is_loopback(urlsplit(base_url).hostname or ""):
        raise _Doubt("it is served on this machine, which has no list price; 0 is fine")
    snapshot = get_snapshot()
    name = _LIBRARY_NAMES.get(provider, provider)
    try:
        source = snapshot.find_provider(None, None if base_url else name, base_url)
        found = source.find_model(model, all_providers=snapshot.providers)
    except LookupError:
        raise _Doubt(f"the price library does not know {base_url or provider}") from None
    if found is None:
        raise _Doubt(f"the price library has no such model at {source.name}")
    rivals = [other for other in source.models if other.is_match(model.lower())]
    if any(other.prices != found.prices for other in rivals):
        raise _Doubt(f"the price library knows it as {' and as '.join(other.id for other in rivals)}")
    return _today(found)


def _today(found: "ModelInfo") -> "ModelPrice":
    now = datetime.now(UTC)
    listed = found.get_prices(now)
    if any(found.get_prices(now.replace(hour=hour)) != listed for hour in range(24)):
        raise _Doubt("its price depends on the time of day")
    return listed


def _price(listed: "ModelPrice", context_tokens: int | None, answers: bool) -> Price:
    classes: dict[str, Decimal] = {} if answers else {"output": Decimal(0)}
    for name, value in vars(listed).items():
        if value is None or any(word in name for word in _ELSEWHERE):
            continue
        if name == "requests_kcount":
            classes["request"] = _flat(name, value, context_tokens) / 1000
        elif name in _CLASSES:
            classes[_CLASSES[name]] = _flat(name, value, context_tokens)
        else:
            raise _Doubt(f"it is also billed by {name}")
    if "input" not in classes or "output" not in classes:
        raise _Doubt("the price library lists no price for both input and output tokens")
    if not any(classes.values()):
        raise _Doubt("the price library lists it at zero, which may mean unknown")
    return price_of(**classes)


def _flat(name: str, value: "Decimal | TieredPrices", context_tokens: int | None) -> Decimal:
    if isinstance(value, Decimal):
        return value
    reached = [tier for tier in value.tiers if context_tokens is None or tier.start < context_tokens]
    if any(tier.price != value.base for tier in reached):
        raise _Doubt(f"its {name} price rises above {reached[0].start} input tokens")
    return value.base
