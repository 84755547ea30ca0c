"""Ours beside theirs: which days belong together, and why they differ."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import compress
from typing import Literal

import msgspec

from pipeline.reconcile.names import Match, match
from pipeline.reconcile.ours import Ours, edges, sent_at
from pipeline.reconcile.span import SIDES, Span
from pipeline.reconcile.usage import DAY, Billed, Export, midnight
from schemas.money import format_usd

SETTLES_AFTER = DAY  # after which a day's usage is taken for whole

Kind = Literal[
    "missing",  # ours, and not in the export
    "others",  # billed beyond anything that calls of ours can have cost
    "presumed",  # calls whose outcome we do not know: billed, or not
    "failed",  # calls that failed, or stated no usage, and may have been billed
    "class",  # the same tokens in other classes
    "short",  # fewer tokens than the replies stated
    "counted",  # more tokens in no more requests
    "edge",  # booked on the other side of midnight
    "price",  # another price than ours
    "rounding",
    "open",  # the export does not have the days whole, or not yet
    "elsewhere",  # asked at an endpoint that this export does not cover
]
UNEXPLAINED: tuple[Kind, ...] = ("missing", "short", "counted")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    why: str
    nano: int = 0  # what it is worth: above 0 theirs is more than the ledger's charge

    @property
    def explained(self) -> bool:
        return self.kind not in UNEXPLAINED


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    span: Span
    differences: tuple[Difference, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    matches: tuple[Match, ...]
    compared: tuple[Compared, ...]
    outside: int  # calls of ours on days that were not compared

    @property
    def explained(self) -> bool:
        return all(each.explained for one in self.compared for each in one.differences)


def compare(
    ours: Ours, export: Export, given: Mapping[str, str], period: tuple[date, date], now: datetime
) -> Comparison:
    """`given`: our model -> the export's name of it; `period`: first and last day to compare."""
    names = {each.model for each in ours.asked} | {call.model for call in ours.presumed}
    matches = match(names, {line.model for line in export.billed}, given)
    groups: dict[str, list[str]] = defaultdict(list)
    for each in matches:
        groups[each.theirs or each.ours].append(each.ours)
    found = [span for theirs, names in groups.items() for span in _spans(ours, export, theirs, names, now)]
    found += _strangers(export, set(groups), period)
    inside = [span.days[-1] >= period[0] and span.days[0] <= period[1] for span in found]
    compared = [
        Compared(span=span, differences=tuple(_differences(span))) for span in compress(found, inside)
    ]
    outside = [span for span, is_inside in zip(found, inside, strict=True) if not is_inside]
    return Comparison(
        matches=tuple(matches),
        compared=tuple(compared),
        outside=sum(span.requests + len(span.presumed) for span in outside),
    )


def _spans(ours: Ours, export: Export, theirs: str, names: Sequence[str], now: datetime) -> Iterator[Span]:
    """A model's days, those joined between which a call was sent so near midnight that it may stand on either."""
    asked = [each for each in ours.asked if each.model in names]
    presumed = [call for call in ours.presumed if call.model in names]
    billed = [line for line in export.billed if line.model == theirs]
    near = [(each.day, each.early, each.late) for each in asked]
    near += [(moment.date(), *edges(moment)) for moment in map(sent_at, presumed)]
    joined = {day - DAY for day, early, _ in near if early} | {day for day, _, late in near if late}
    days = (
        {day for day, _, _ in near} | {line.day for line in billed} | joined | {day + DAY for day in joined}
    )
    for run in _runs(sorted(days), joined):
        covered = export.days.issuperset(run)
        over = now >= midnight(run[-1]) + DAY + SETTLES_AFTER
        yield Span(
            ours=tuple(names),
            theirs=theirs if billed else None,
            days=tuple(run),
            asked=tuple(each for each in asked if each.day in run),
            presumed=tuple(call for call in presumed if sent_at(call).date() in run),
            billed=tuple(line for line in billed if line.day in run),
            prices=tuple(ours.prices(names)),
            covered=covered,
            whole=covered and over and run[-1] + DAY in export.days,
            expected=any(offer.expected for offer in ours.offers.values() if offer.model in names),
        )


def _runs(days: Sequence[date], joined: set[date]) -> list[list[date]]:
    runs: list[list[date]] = []
    for day in days:
        if runs and day - DAY in joined:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def _strangers(export: Export, known: set[str], period: tuple[date, date]) -> Iterator[Span]:
    lines: dict[str, list[Billed]] = defaultdict(list)
    for line in export.billed:
        if line.model not in known and any(line.tokens.values()) and period[0] <= line.day <= period[1]:
            lines[line.model].append(line)
    for name, billed in sorted(lines.items()):
        yield Span(
            ours=(), theirs=name, days=tuple(sorted({line.day for line in billed})), asked=(), presumed=(),
            billed=tuple(billed), prices=(), covered=True, whole=True, expected=True,
        )  # fmt: skip


def _differences(span: Span) -> Iterator[Difference]:
    if not span.ours:
        yield Difference(
            kind="others", why="no job asked for it: other users of the key, or jobs not compared"
        )
        return
    if not span.billed and any(span.settled_tokens.values()):
        yield _absent(span)
        return
    if span.beyond and not any(sum(span.beyond.get(name, 0) for name in side) for side in SIDES.values()):
        yield Difference(
            kind="class", why="the same tokens, counted in other classes", nano=span.worth(span.beyond)
        )
    else:
        yield from _less(span)
        yield from _more(span)
    if _is_less(span.on(day) for day in span.days) and not _is_less([span]):
        why = "calls sent around midnight UTC are booked on the other day, so these days are compared as one"
        yield Difference(kind="edge", why=why)
    yield from _priced(span)


def _is_less(spans: Iterable[Span]) -> bool:
    """Whether fewer tokens of some class were billed than settled."""
    return any(tokens < 0 for span in spans for tokens in span.beyond.values())


def _absent(span: Span) -> Difference:
    nano = -span.settled_cost
    if not span.covered:
        return Difference(kind="open", why=_UNCOVERED, nano=nano)
    if not span.whole:
        return Difference(kind="open", why=_OPEN, nano=nano)
    if not span.expected and span.theirs is None:
        return Difference(
            kind="elsewhere", why="asked at an endpoint whose usage is not in this export", nano=nano
        )
    why = f"{span.requests:,} calls, and nothing of it in the export: another project or key, or another name"
    return Difference(kind="missing", why=f"{why} (--model {span.ours[0]}=NAME)", nano=nano)


_UNCOVERED = "the export does not cover these days from midnight to midnight"
_OPEN = "more may come: compare again with an export that reaches a day further"


def _less(span: Span) -> Iterator[Difference]:
    less = {name: -tokens for name, tokens in span.beyond.items() if tokens < 0}
    if not less:
        return
    said = f"{_listed(less)} fewer billed than replies stated"
    if span.whole:
        why = "a part of the usage is not in the export (another project or key?), or was given for free"
        yield Difference(kind="short", why=f"{said}: {why}", nano=-span.worth(less))
    else:
        yield Difference(kind="open", why=f"{said}: {_OPEN}", nano=-span.worth(less))


def _more(span: Span) -> Iterator[Difference]:
    """What was billed beyond what replies stated: first presumed calls, then failed ones; no call of ours can have cost
    more than was held for it, so the rest is another's."""
    more = {name: tokens for name, tokens in span.beyond.items() if tokens > 0}
    requests = span.requests_beyond
    worth = span.worth(more, max(0, requests or 0))
    if span.presumed:
        yield _presumed(span, worth)
    if worth <= span.presumed_cost:
        return
    if requests is not None and requests <= 0:
        why = f"{_listed(more)} more billed, in no more requests: the provider counts what its replies do not state"
        yield Difference(kind="counted", why=why, nano=worth)
        return
    beyond, room = worth - span.presumed_cost, sum(each.doubtful_cost for each in span.asked)
    doubtful = sum(each.doubtful for each in span.asked)
    if doubtful:
        why = f"{doubtful:,} calls that failed, or whose reply states no usage, may have been billed"
        yield Difference(kind="failed", why=why, nano=min(beyond, room))
    if beyond > room:
        why = f"{_listed(more)} more billed, by other users of the key; not by us: what every call can cost is held "
        why += f"before it is sent, in all {format_usd(span.presumed_cost + room)} for those of unknown outcome, and "
        why += f"{format_usd(beyond - room)} is beyond that"
        yield Difference(kind="others", why=why, nano=beyond - room)


def _presumed(span: Span, worth: int) -> Difference:
    said = f"{len(span.presumed):,} presumed calls, charged {format_usd(span.presumed_cost)}"
    if not span.whole:
        why = _OPEN if span.covered else _UNCOVERED
        return Difference(kind="presumed", why=f"{said}; {why}")
    if not worth:
        return Difference(kind="presumed", why=f"{said}: not billed", nano=-span.presumed_cost)
    if worth > span.presumed_cost:
        return Difference(kind="presumed", why=f"{said}: all may have been billed")
    why = f"{said}: {format_usd(worth)} of that was billed at most"
    return Difference(kind="presumed", why=why, nano=worth - span.presumed_cost)


def _priced(span: Span) -> Iterator[Difference]:
    """Their cost beside our price for their tokens; ours is rounded up once a call."""
    cost = span.billed_cost
    if cost is None or not span.prices:
        return
    requests = max(span.requests + (span.requests_beyond or 0), 0)
    low = span.worth(span.billed_tokens, requests, least=True)
    high = span.worth(span.billed_tokens, requests)
    slack = span.requests + len(span.presumed) + len(span.billed)
    if low - slack <= cost <= high + slack:
        if (off := round(cost - span.settled_cost)) and not span.beyond and abs(off) <= slack:
            why = "the ledger rounds each call up to a billionth of a dollar"
            yield Difference(kind="rounding", why=why, nano=off)
        return
    ours, nano = (high, round(cost) - high) if cost > high else (low, round(cost) - low)
    times = f", {float(cost / ours):.3f} times" if ours else ""
    why = f"billed {format_usd(round(cost))}; at our price these tokens cost {format_usd(ours)}{times}"
    yield Difference(kind="price", why=f"{why}: set the tier's `price`", nano=nano)


def _listed(tokens: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in tokens.items()) + " tokens"
