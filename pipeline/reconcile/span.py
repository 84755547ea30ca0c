"""One model over the days that have to be compared as one: what it was asked, and what was billed for it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from functools import cached_property
from math import ceil

import msgspec

from pipeline.ports.ledger import CallRow
from pipeline.reconcile.ours import Asked, sent_at
from pipeline.reconcile.usage import Billed
from schemas.ids import Nano
from schemas.money import NANO_PER_USD, TOKEN_CLASSES, Price

FOLDED = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}
SIDES = {"input": ("input", "cached_input", "cache_write"), "output": ("output", "reasoning")}
Tokens = dict[str, int]  # by class


class Span(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`covered`: the export has all its days from midnight to midnight; `whole`: and nothing more will come."""

    ours: tuple[str, ...]  # our names of the model; none: no job asked it
    theirs: str | None  # the export's
    days: tuple[date, ...]
    asked: tuple[Asked, ...]
    presumed: tuple[CallRow, ...]
    billed: tuple[Billed, ...]
    prices: tuple[Price, ...]
    covered: bool
    whole: bool
    expected: bool  # an export of this form should show it

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The token classes that every line of the export tells apart."""
        split = [set(line.tokens) for line in self.billed]
        return tuple(name for name in TOKEN_CLASSES if all(name in each for each in split))

    @cached_property
    def settled_tokens(self) -> Tokens:
        return self._folded(tokens_of(each) for each in self.asked)

    @cached_property
    def billed_tokens(self) -> Tokens:
        return self._folded(line.tokens for line in self.billed)

    @cached_property
    def beyond(self) -> Tokens:
        """Billed less settled, by class; the classes that agree are left out."""
        found = {name: self.billed_tokens[name] - self.settled_tokens[name] for name in self.classes}
        return {name: tokens for name, tokens in found.items() if tokens}

    @cached_property
    def requests_beyond(self) -> int | None:
        """None: the export does not count requests."""
        counts = [line.requests for line in self.billed]
        if not counts or None in counts:
            return None
        return sum(filter(None, counts)) - sum(each.requests for each in self.asked)

    @property
    def requests(self) -> int:
        """Ours whose outcome is known."""
        return sum(each.requests for each in self.asked)

    @property
    def settled_cost(self) -> Nano:
        return Nano(sum(each.cost for each in self.asked))

    @property
    def presumed_cost(self) -> Nano:
        return Nano(sum(call.cost for call in self.presumed))

    @property
    def charge(self) -> Nano:
        """What the ledger charges for it."""
        return Nano(self.settled_cost + self.presumed_cost)

    @cached_property
    def billed_cost(self) -> Fraction | None:
        """Nano-dollars; None: the export states no cost."""
        costs = [line.cost for line in self.billed]
        if not costs or None in costs:
            return None
        return sum((Fraction(cost) for cost in costs if cost is not None), Fraction(0)) * NANO_PER_USD

    def worth(self, tokens: Mapping[str, int], requests: int = 0, *, least: bool = False) -> int:
        """Nano-dollars of tokens at our prices, rounded up: at the dearest of the model's prices and of the classes
        that the export counts as one, or at the cheapest."""
        pick = min if least else max
        totals = [
            sum((tokens[name] * rate(price, name, self.classes, least=least) for name in tokens), Fraction(0))
            + Fraction(requests * price.request, price.denominator)
            for price in self.prices
        ]
        return ceil(pick(totals, default=Fraction(0)))

    def on(self, day: date) -> "Span":
        """That day of it."""
        return msgspec.structs.replace(
            self,
            days=(day,),
            asked=tuple(each for each in self.asked if each.day == day),
            presumed=tuple(call for call in self.presumed if sent_at(call).date() == day),
            billed=tuple(line for line in self.billed if line.day == day),
        )

    def _folded(self, counts: Iterable[Mapping[str, int]]) -> Tokens:
        sums = dict.fromkeys(self.classes, 0)
        for tokens in counts:
            for name, number in tokens.items():
                sums[name if name in sums else FOLDED[name]] += number
        return sums


def tokens_of(asked: Asked) -> Tokens:
    return {name: getattr(asked.usage, name) for name in TOKEN_CLASSES}


def rate(price: Price, name: str, classes: Sequence[str], *, least: bool = False) -> Fraction:
    """Nano-dollars a token of a class as the export counts it."""
    inside = [name, *(each for each, base in FOLDED.items() if base == name and each not in classes)]
    rates = [getattr(price, each) for each in inside]
    return Fraction(min(rates) if least else max(rates), price.denominator)
