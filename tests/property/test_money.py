"""Money is exact: the sum of rationals, ceiled once; a bound is never below a cost."""

import math
import unicodedata
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from schemas.money import (
    FREE,
    TOKEN_CLASSES,
    Usage,
    format_usd,
    nano_to_usd,
    price_of,
    token_bound,
    usd_to_nano,
)

amounts = st.decimals(0, 1000, places=9)
rates = st.fixed_dictionaries(
    {"input": amounts, "output": amounts},
    optional=dict.fromkeys(("cached_input", "cache_write", "reasoning", "request"), amounts),
)
tokens = st.integers(0, 2_000_000)


def exact_nano(rate: dict[str, Decimal], usage: Usage) -> Fraction:
    """The written rule, spelled out."""
    of = {
        "input": rate["input"],
        "cached_input": rate.get("cached_input", rate["input"]),
        "cache_write": rate.get("cache_write", rate["input"]),
        "output": rate["output"],
        "reasoning": rate.get("reasoning", rate["output"]),
    }
    usd = sum((Fraction(of[name]) * getattr(usage, name) for name in TOKEN_CLASSES), Fraction(0)) / 10**6
    return (usd + Fraction(rate.get("request", Decimal(0)))) * 10**9


@given(rates, st.builds(Usage, **dict.fromkeys(TOKEN_CLASSES, tokens)))
def test_a_cost_is_the_exact_sum_ceiled_once(rate: dict[str, Decimal], usage: Usage) -> None:
    assert price_of(**rate).cost(usage) == math.ceil(exact_nano(rate, usage))


@given(rates, tokens, tokens, st.data())
def test_a_bound_is_not_below_any_cost_within_its_tokens(
    rate: dict[str, Decimal], most_in: int, most_out: int, data: st.DataObject
) -> None:
    cached = data.draw(st.integers(0, most_in))
    written = data.draw(st.integers(0, most_in - cached))
    plain = data.draw(st.integers(0, most_in - cached - written))
    reasoning = data.draw(st.integers(0, most_out))
    output = data.draw(st.integers(0, most_out - reasoning))
    usage = Usage(input=plain, cached_input=cached, cache_write=written, output=output, reasoning=reasoning)
    price = price_of(**rate)

    assert price.bound(most_in, most_out) >= price.cost(usage)


@given(rates, tokens, tokens)
def test_a_bound_is_reached_by_some_usage(rate: dict[str, Decimal], most_in: int, most_out: int) -> None:
    price = price_of(**rate)
    spread = [
        Usage(**{side: most_in, other: most_out})
        for side in ("input", "cached_input", "cache_write")
        for other in ("output", "reasoning")
    ]

    assert price.bound(most_in, most_out) == max(price.cost(usage) for usage in spread)


def test_half_a_nano_is_paid_as_one_once() -> None:
    price = price_of(input=Decimal("0.0005"), output=Decimal("0.0005"))  # half a nano-dollar per token

    assert price.cost(Usage(input=1, output=1)) == 1
    assert price.cost(Usage(input=1)) == 1
    assert price.cost(Usage(input=2, output=1)) == 2
    assert FREE.cost(Usage(input=10**9, output=10**9)) == 0


@given(st.text())
def test_no_form_of_a_text_has_more_bytes_than_its_token_bound(text: str) -> None:
    bound = token_bound(text)

    for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFKC", text)):
        assert bound >= len(form.encode())


def test_a_ligature_that_grows_when_normalised_is_bound_by_its_long_form() -> None:
    assert token_bound("\ufdfa") == len(unicodedata.normalize("NFKC", "\ufdfa").encode())
    assert token_bound("\ud800") == 3


@given(st.decimals(0, 10**6, places=15))
def test_a_cap_is_never_rounded_up(amount: Decimal) -> None:
    nano = usd_to_nano(amount)

    assert Fraction(nano, 10**9) <= Fraction(amount) < Fraction(nano + 1, 10**9)
    assert usd_to_nano(str(amount)) == nano


@given(st.integers(-(10**18), 10**18))
def test_nano_to_usd_and_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano


def test_amounts_for_people() -> None:
    assert format_usd(0) == "$0.00"
    assert format_usd(1_234_567_890_000_000) == "$1,234,567.89"
    assert format_usd(10**9) == "$1.00"
    assert format_usd(1_500_000) == "$0.001500"
