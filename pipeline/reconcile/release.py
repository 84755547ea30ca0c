"""Presumed spend comes back here, and only here: a call that the provider did not bill costs nothing, and what it
billed stays charged."""

import asyncio
import hashlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.ledger import CallRow, Ledger, Settlement
from pipeline.ports.storage import Storage
from pipeline.reconcile.compare import Comparison
from pipeline.reconcile.ours import Ours, Presumed, sent_at
from pipeline.reconcile.span import Span, Tokens, rate
from schemas import lake
from schemas.ids import CallId, JobId, Nano
from schemas.money import TOKEN_CLASSES, Price, Usage, format_usd
from schemas.tables import RELEASES, TIME, usd_column

LEASE = "reconcile"  # one process at a time releases
AT_ONCE = 1000  # settlements


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A presumed call and its part of what was billed beyond settled calls."""

    call: CallRow
    billed: bool
    cost: Nano = Nano(0)
    usage: Usage = Usage()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a span's presumed calls: a share each, or `kept` says why they stay charged."""

    span: Span
    kept: str = ""
    shares: tuple[Share, ...] = ()

    @property
    def released(self) -> int:
        """Nano-dollars that come back."""
        return sum(share.call.cost - share.cost for share in self.shares)


def plan(comparison: Comparison, ours: Ours) -> list[Plan]:
    """For every span with presumed calls."""
    spans = [one.span for one in comparison.compared]
    known = {
        span.theirs
        for span in spans
        if span.billed and any(span.settled_tokens.values()) and _is_all_there(span)
    }
    return [_plan(span, ours, known) for span in spans if span.presumed]


def _plan(span: Span, ours: Ours, known: set[str | None]) -> Plan:
    if kept := _kept(span, known):
        return Plan(span=span, kept=kept)
    prices = {call.call_id: ours.offers[(call.job, call.tier)].price for call in span.presumed}
    shares = share_out(span, prices)
    if shares is None:
        worth = span.worth(span.beyond, max(0, span.requests_beyond or 0))
        why = f"{format_usd(worth)} was billed beyond settled calls"
        why += f", more than the {format_usd(span.presumed_cost)} they can cost"
        return Plan(span=span, kept=f"{why}: any of it may be theirs")
    return Plan(span=span, shares=tuple(shares))


def _kept(span: Span, known: set[str | None]) -> str:
    """Why nothing of a span may be released; empty: it may."""
    if not span.covered:
        return "the export does not cover their days from midnight to midnight"
    if not span.whole:
        return "more may come: release with an export that reaches a day further, a day after"
    if not _is_all_there(span):
        return "not all that settled calls used is in the export, so theirs may be missing too"
    if span.theirs not in known:
        return "the export shows no usage of settled calls of this model: it may be of another project or key"
    return ""


def _is_all_there(span: Span) -> bool:
    return all(tokens >= 0 for tokens in span.beyond.values())


def share_out(span: Span, prices: dict[CallId, Price]) -> list[Share] | None:
    """Tokens billed beyond settled calls, given to presumed calls, the dearest first, none above its hold; None: they
    do not fit in. Each call is charged its part at its price, rounded up: the sum is at least what was billed."""
    left: Tokens = dict(span.beyond)
    dearest = sorted(span.presumed, key=lambda call: (-call.cost, call.call_id))
    least = _billed_calls(span, prices)
    shares = []
    for position, call in enumerate(dearest):
        if position >= least and not any(left.values()):
            shares.append(Share(call=call, billed=False))
            continue
        tokens, cost = _fill(left, min(call.cost, call.held), prices[call.call_id], span.classes)
        shares.append(Share(call=call, billed=True, cost=cost, usage=Usage(**tokens)))
    return None if any(left.values()) else shares


def _billed_calls(span: Span, prices: dict[CallId, Price]) -> int:
    """How many presumed calls were billed at least, as far as requests tell; all may be where each has a price."""
    if span.requests_beyond is not None:
        return min(len(span.presumed), max(0, span.requests_beyond))
    priced = any(price.request for price in prices.values())
    return len(span.presumed) if priced and span.beyond else 0


def _fill(left: Tokens, hold: Nano, price: Price, classes: Sequence[str]) -> tuple[Tokens, Nano]:
    """Takes from `left` what the hold pays for, and what that costs."""
    room = hold * price.denominator - price.request
    taken: Tokens = {}
    for name in left:
        each = int(rate(price, name, classes) * price.denominator)
        taken[name] = left[name] if not each else max(0, min(left[name], room // each))
        left[name] -= taken[name]
        room -= taken[name] * each
    return taken, Nano(min(hold, ceil((hold * price.denominator - room) / price.denominator)))


async def settle(ledger: Ledger, plans: Sequence[Plan]) -> None:
    """Through the ledger's own door, in any order: a call that has not got its share yet is charged in full, so killed
    anywhere the ledger charges no less than the export says, and the next run plans the rest alike."""
    settlements = [_settlement(share) for each in plans for share in each.shares]
    for start in range(0, len(settlements), AT_ONCE):
        await asyncio.gather(*map(ledger.settle, settlements[start : start + AT_ONCE]))


def _settlement(share: Share) -> Settlement:
    call = share.call
    said = "billed, without a reply" if share.billed else "not billed, says the provider's usage export"
    return Settlement(
        call_id=call.call_id,
        outcome="lost" if share.billed else "unreachable",
        cost=share.cost,
        usage=share.usage,
        latency_ms=call.latency_ms,
        sent_at=int(sent_at(call).timestamp() * 1000),
        error=f"{call.error}; {said}" if call.error else said,
    )


async def record(storage: Storage, presumed: Presumed, known: set[CallId], now: int) -> int:
    """Append to the lake's `releases` what the ledger has settled since its jobs closed; the number of calls that were
    not on record (`known`). Derived from the ledger, so that a run that died before it wrote is made up for."""
    news: dict[JobId, list[CallRow]] = defaultdict(list)
    for call in presumed.settled:
        if call.call_id not in known:
            news[call.job].append(call)
    for job, calls in news.items():
        digest = hashlib.sha256("".join(call.call_id for call in calls).encode()).hexdigest()[:16]
        await storage.create(lake.release(job, digest), _parquet(calls, presumed.charges, now))
    return sum(map(len, news.values()))


def _parquet(calls: Sequence[CallRow], charges: Mapping[CallId, Nano], now: int) -> bytes:
    columns = {
        name: [getattr(call, name) for call in calls]
        for name in ("call_id", "job", "query_id", "tier", "model")
    }
    arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    arrays["outcome"] = pa.array([call.outcome for call in calls], pa.string())
    arrays["charged_usd"] = usd_column([charges[call.call_id] for call in calls])
    arrays["cost_usd"] = usd_column([call.cost for call in calls])
    for name in TOKEN_CLASSES:
        arrays[f"{name}_tokens"] = pa.array([getattr(call.usage, name) for call in calls], pa.int64())
    arrays["released_at"] = pa.array([now] * len(calls), pa.int64()).cast(TIME)
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=RELEASES), buffer, compression="zstd")
    return buffer.getvalue()
