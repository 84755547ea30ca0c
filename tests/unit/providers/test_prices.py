import warnings
from decimal import Decimal

import pytest

from pipeline.providers.prices import find_price
from schemas.errors import UnpricedModel
from schemas.money import price_of

OPENAI = "https://api.openai.com/v1"


def test_a_list_price() -> None:
    assert find_price(tier="t", provider="openai", model="gpt-4o-mini", base_url=OPENAI) == price_of(
        input=Decimal("0.15"), cached_input=Decimal("0.075"), output=Decimal("0.6")
    )


def test_a_price_on_bedrock() -> None:
    price = find_price(tier="t", provider="bedrock", model="anthropic.claude-3-haiku-20240307-v1:0")
    assert (price.input, price.output) == (250 * price.denominator, 1250 * price.denominator)


@pytest.mark.parametrize(
    ("model", "base_url", "why"),
    [
        ("no-such-model", OPENAI, "no such model"),
        ("gpt-4o-mini", "https://gateway.example/v1", "does not know https://gateway.example/v1"),
        ("llama3.2", "http://localhost:11434/v1", "on this machine"),
        ("text-embedding-3-small", OPENAI, "both input and output"),
    ],
)
def test_a_model_without_a_clear_price_is_refused_by_name(model: str, base_url: str, why: str) -> None:
    with pytest.raises(UnpricedModel, match=why) as raised:
        find_price(tier="small", provider="openai", model=model, base_url=base_url)
    assert model in str(raised.value)
    assert "small" in str(raised.value)


def test_a_price_that_rises_with_length_needs_the_longest_input() -> None:
    def price(tokens: int | None) -> object:
        return find_price(
            tier="t", provider="openai", model="gpt-5.4", base_url=OPENAI, context_tokens=tokens
        )

    with pytest.raises(UnpricedModel, match="rises above"):
        price(None)
    with pytest.raises(UnpricedModel, match="rises above"):
        price(1_000_000)
    assert price(128_000) == price(64_000)


def test_every_entry_of_the_library_is_priced_or_refused() -> None:
    from genai_prices.data_snapshot import get_snapshot

    priced = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for provider in get_snapshot().providers:
            for model in provider.models:
                try:
                    price = find_price(tier="t", provider=provider.id, model=model.id, context_tokens=32_000)
                except UnpricedModel:
                    continue
                assert price.input + price.output + price.request > 0
                priced += 1
    assert priced > 500
