"""What a call costs: exact rationals, summed over token classes and ceiled to a nano-dollar once."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

_DECIMAL = re.compile(r"\d+(\.\d+)?")
_ENTRY_KEYS = frozenset({"input", "cached_input", "cache_write", "output", "reasoning", "request"})
_NANO_PER_TOKEN = 1_000  # 1 USD per million tokens = 10^9 / 10^6 nano-dollars per token
_NANO_PER_USD = 1_000_000_000


class PriceError(ValueError):
    """A price table that cannot be used; the message names the model and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCounts:
    """The tokens of one call, by class; no token is in two classes."""

    input: int = 0  # prompt tokens neither read from nor written to a prompt cache
    cached_input: int = 0  # prompt tokens read from the prompt cache
    cache_write: int = 0  # prompt tokens written to the prompt cache
    output: int = 0  # visible completion tokens, without reasoning
    reasoning: int = 0  # hidden completion tokens

    @property
    def prompt(self) -> int:
        """All input tokens."""
        return self.input + self.cached_input + self.cache_write

    @property
    def completion(self) -> int:
        """All output tokens."""
        return self.output + self.reasoning


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """One model's prices in USD: per million tokens, and per request."""

    input: Fraction
    cached_input: Fraction
    cache_write: Fraction
    output: Fraction
    reasoning: Fraction
    request: Fraction
    has_cache_write: bool = False  # the table prices writes apart, so they are counted apart
    _weights: tuple[int, ...] = field(init=False, repr=False)  # nano-dollars times the denominator
    _denominator: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        per_token = (self.input, self.cached_input, self.cache_write, self.output, self.reasoning)
        nano = [price * _NANO_PER_TOKEN for price in per_token] + [self.request * _NANO_PER_USD]
        denominator = math.lcm(*(part.denominator for part in nano))
        object.__setattr__(self, "_weights", tuple(int(part * denominator) for part in nano))
        object.__setattr__(self, "_denominator", denominator)

    @classmethod
    def free(cls) -> Self:
        """A price of nothing."""
        zero = Fraction(0)
        return cls(input=zero, cached_input=zero, cache_write=zero, output=zero, reasoning=zero, request=zero)

    @classmethod
    def from_entry(cls, model: str, entry: Mapping[str, str]) -> Self:
        """An entry of decimal strings; needs input and output, a missing class costs as its parent."""
        unknown = sorted(set(entry) - _ENTRY_KEYS)
        if unknown:
            raise PriceError(f"model {model!r}: unknown price {unknown[0]!r}; known: {sorted(_ENTRY_KEYS)}")
        missing = sorted({"input", "output"} - set(entry))
        if missing:
            raise PriceError(f"model {model!r}: no {missing[0]} price; give it in USD per million tokens")
        given = {name: _decimal(model, name, text) for name, text in entry.items()}
        return cls(
            input=given["input"],
            cached_input=given.get("cached_input", given["input"]),
            cache_write=given.get("cache_write", given["input"]),
            output=given["output"],
            reasoning=given.get("reasoning", given["output"]),
            request=given.get("request", Fraction(0)),
            has_cache_write="cache_write" in given,
        )

    def cost_nano(self, tokens: TokenCounts) -> int:
        """Nano-dollars for one call; the only rounding is this one ceiling."""
        plain, cached, written, output, reasoning, request = self._weights
        exact = (
            plain * tokens.input
            + cached * tokens.cached_input
            + written * tokens.cache_write
            + output * tokens.output
            + reasoning * tokens.reasoning
            + request
        )
        return -(-exact // self._denominator)


def read_entries(path: Path) -> dict[str, dict[str, str]]:
    """The raw entries of a JSON price table; bare JSON numbers keep their written digits."""
    try:
        table = json.loads(path.read_text("utf-8"), parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        raise PriceError(f"{path} is not JSON: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise PriceError(f"{path}: want an object of model -> object of prices")
    return table


def price_models(
    models: tuple[str, ...], entries: Mapping[str, Mapping[str, str]], *, free: bool
) -> dict[str, Price]:
    """A price for every model; PriceError where one has none and nothing was said to be free."""
    unpriced = [model for model in models if model not in entries]
    if unpriced and not free:
        raise PriceError(
            f"no price for {len(unpriced)} of {len(models)} models, e.g. {unpriced[0]!r}; "
            "add them to the price table, limit the models served, or say free"
        )
    return {
        model: Price.from_entry(model, entries[model]) if model in entries else Price.free()
        for model in models
    }


def _decimal(model: str, name: str, text: str) -> Fraction:
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise PriceError(f"model {model!r}: {name} price {text!r}; write a plain decimal such as '0.15'")
    return Fraction(text)
