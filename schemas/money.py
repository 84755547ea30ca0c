"""Money is integer nano-dollars; prices are exact rationals per token; a call's cost is ceiled once."""

from decimal import Decimal
from fractions import Fraction
from math import lcm

import msgspec

from schemas.ids import Nano

NANO_PER_USD = 10**9
TOKEN_CLASSES = ("input", "cached_input", "cache_write", "output", "reasoning")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a call was billed for. The classes are disjoint: their sum is all that was billed."""

    input: int = 0  # not read from a cache, not written to one
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0  # without reasoning
    reasoning: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Numerators over one denominator: nano-dollars per token, exactly. Built by `price_of`."""

    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    request: int  # nano-dollars per request, over the same denominator
    denominator: int

    def cost(self, usage: Usage) -> Nano:
        """The exact cost of a call in nano-dollars, ceiled once."""
        total = (
            usage.input * self.input
            + usage.cached_input * self.cached_input
            + usage.cache_write * self.cache_write
            + usage.output * self.output
            + usage.reasoning * self.reasoning
            + self.request
        )
        return Nano(-(-total // self.denominator))

    def bound(self, input_tokens: int, output_tokens: int) -> Nano:
        """The most a call can cost: every token at the dearest class of its side."""
        dearest_in = max(self.input, self.cached_input, self.cache_write)
        dearest_out = max(self.output, self.reasoning)
        total = input_tokens * dearest_in + output_tokens * dearest_out + self.request
        return Nano(-(-total // self.denominator))


FREE = Price(input=0, cached_input=0, cache_write=0, output=0, reasoning=0, request=0, denominator=1)


def price_of(
    *,
    input: Decimal,
    output: Decimal,
    cached_input: Decimal | None = None,
    cache_write: Decimal | None = None,
    reasoning: Decimal | None = None,
    request: Decimal = Decimal(0),
) -> Price:
    """A price from USD per million tokens of each class (and USD per request); a class left out costs
    what its side costs."""
    cached = input if cached_input is None else cached_input
    written = input if cache_write is None else cache_write
    thought = output if reasoning is None else reasoning
    per_token = [Fraction(amount) * 1000 for amount in (input, cached, written, output, thought)]
    per_request = Fraction(request) * NANO_PER_USD
    denominator = lcm(*(fraction.denominator for fraction in [*per_token, per_request]))
    numbers = [int(fraction * denominator) for fraction in [*per_token, per_request]]
    return Price(
        input=numbers[0],
        cached_input=numbers[1],
        cache_write=numbers[2],
        output=numbers[3],
        reasoning=numbers[4],
        request=numbers[5],
        denominator=denominator,
    )


def usd_to_nano(amount: Decimal | str | int) -> Nano:
    """Nano-dollars of an amount in USD; a cap is floored, so never more than was said."""
    return Nano(int(Fraction(Decimal(amount)) * NANO_PER_USD // 1))


def nano_to_usd(amount: int) -> Decimal:
    """USD with nine decimals, exactly."""
    return Decimal(amount).scaleb(-9)


def format_usd(amount: int) -> str:
    """For people: cents where that is enough, more digits where the amount is small."""
    usd = nano_to_usd(amount)
    if amount and abs(amount) < NANO_PER_USD:
        return f"${usd:.6f}"
    return f"${usd:,.2f}"


def token_bound(text: str) -> int:
    """An upper bound on tokens: the largest byte length of the text, its NFC and its NFKC form."""
    if text.isascii():
        return len(text)
    import unicodedata

    forms = (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFKC", text))
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)
