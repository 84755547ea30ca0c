"""The pricing rule: exact, and ceiled once."""

import math
from fractions import Fraction
from pathlib import Path

import pytest

from tests.upstream.pricing import Price, PriceError, TokenCounts, price_models, read_entries

ENTRY = {
    "input": "0.15",
    "cached_input": "0.075",
    "cache_write": "0.1875",
    "output": "0.6",
    "reasoning": "0.7",
    "request": "0.0000000001",
}


def exact_usd(entry: dict[str, str], counts: dict[str, int]) -> Fraction:
    """The written rule, spelled out."""
    tokens = sum((Fraction(entry[name]) * count for name, count in counts.items()), Fraction(0))
    return tokens / 1_000_000 + Fraction(entry["request"])


@pytest.mark.parametrize(
    "counts",
    [
        {"input": 1},
        {"input": 7, "output": 3},
        {"input": 123_457, "cached_input": 1_001, "cache_write": 13, "output": 999, "reasoning": 77},
        {},
    ],
)
def test_a_cost_is_the_exact_sum_ceiled_once(counts: dict[str, int]) -> None:
    price = Price.from_entry("m", ENTRY)

    cost = price.cost_nano(TokenCounts(**counts))

    assert cost == math.ceil(exact_usd(ENTRY, counts) * 1_000_000_000)


def test_classes_are_not_ceiled_apart() -> None:
    # Given 0.0004 nano-dollars per token in each of two classes
    price = Price.from_entry("m", {"input": "0.0000004", "output": "0.0000004"})

    # When both classes hold one token, Then one nano-dollar is billed, not two
    assert price.cost_nano(TokenCounts(input=1, output=1)) == 1


def test_a_whole_number_of_nano_dollars_is_not_raised() -> None:
    price = Price.from_entry("m", {"input": "0.15", "output": "0.6"})

    assert price.cost_nano(TokenCounts(input=1, output=1)) == 750


def test_a_decimal_that_binary_floats_miss_stays_exact() -> None:
    price = Price.from_entry("m", {"input": "0.1", "output": "0"})

    assert price.cost_nano(TokenCounts(input=3)) == 300


def test_missing_classes_cost_as_their_parents() -> None:
    price = Price.from_entry("m", {"input": "2", "output": "8"})

    assert price.cost_nano(TokenCounts(cached_input=1)) == 2_000
    assert price.cost_nano(TokenCounts(cache_write=1)) == 2_000
    assert price.cost_nano(TokenCounts(reasoning=1)) == 8_000


def test_bare_json_numbers_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"m": {"input": 0.10, "output": 4}}')

    assert read_entries(path) == {"m": {"input": "0.10", "output": "4"}}


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"input": "1"}, "output"),
        ({"input": "1", "output": "-1"}, "plain decimal"),
        ({"input": "1e-3", "output": "1"}, "plain decimal"),
        ({"input": "1", "output": "1", "outptu": "1"}, "outptu"),
    ],
)
def test_a_bad_entry_is_refused_by_name(entry: dict[str, str], word: str) -> None:
    with pytest.raises(PriceError, match=f"'m'.*{word}"):
        Price.from_entry("m", entry)


def test_an_unpriced_model_is_refused_unless_free() -> None:
    entries = {"a": {"input": "1", "output": "1"}}

    with pytest.raises(PriceError, match="'b'"):
        price_models(("a", "b"), entries, free=False)
    assert price_models(("a", "b"), entries, free=True)["b"].cost_nano(TokenCounts(input=9)) == 0
