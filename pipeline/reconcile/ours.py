"""What our jobs asked of models, for a comparison with a provider's usage export: settled calls from the lake, and of
presumed ones the ledger's last word."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.ports.ledger import CallRow, Ledger
from pipeline.ports.storage import Storage
from pipeline.reconcile.usage import Form
from pipeline.storage.sql import named
from pipeline.storage.views import ask
from pipeline.wiring.tiers import ENCODER, encoder_of
from schemas import lake, manifest
from schemas.errors import UnknownJob
from schemas.ids import BatchIndex, CallId, Generation, JobId, Nano, TierName
from schemas.job import BedrockTier, OpenAITier, Tier
from schemas.money import NANO_PER_USD, TOKEN_CLASSES, Price, Usage

EARLY_MINUTES = 1  # after midnight: what our clock may be ahead of the provider's
LATE_MINUTES = 10  # before it: what may pass until a call is billed
_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of a tier on one day whose outcome is known, added up."""

    job: JobId
    tier: TierName
    model: str
    day: date  # UTC, of the moment they were sent
    usage: Usage
    requests: int  # that were answered, or are known to be billed
    cost: Nano
    doubtful: int = 0  # sent and not charged, or answered without stating usage and charged in full
    doubtful_cost: Nano = Nano(0)  # the most these can have cost
    early: bool = False  # one of them may be billed on the day before
    late: bool = False  # or on the day after


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A tier that a provider bills: at what price, and whether an export of this form shows it, by its endpoint."""

    model: str
    price: Price
    expected: bool


class Presumed(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that were presumed when their job closed, as the ledger has them now."""

    unknown: tuple[CallRow, ...]  # still
    settled: tuple[CallRow, ...]  # at their true cost, since
    charges: Mapping[CallId, Nano]  # what the lake's tables have for them


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    asked: tuple[Asked, ...]
    presumed: tuple[CallRow, ...]  # whose outcome is unknown
    offers: Mapping[tuple[JobId, TierName], Offer]

    def prices(self, models: Sequence[str]) -> list[Price]:
        return [offer.price for offer in self.offers.values() if offer.model in models]


def closed_jobs(connection: DuckDBPyConnection) -> list[JobId]:
    return [JobId(row[0]) for row in ask(connection, _sql("jobs")).fetchall()]


def recorded(connection: DuckDBPyConnection, jobs: Sequence[JobId]) -> set[CallId]:
    """Calls whose true cost the lake's `releases` have."""
    return {CallId(row[0]) for row in ask(connection, _sql("recorded"), {"jobs": jobs}).fetchall()}


async def read_ours(
    connection: DuckDBPyConnection, storage: Storage, ledger: Ledger, jobs: Sequence[JobId], form: Form
) -> Ours:
    """Raises UnknownJob for a job with presumed calls that another ledger keeps."""
    presumed = await read_presumed(connection, ledger, jobs)
    asked = read_settled(connection, jobs)
    offers = _at_home(await _offers(storage, jobs, form))
    return Ours(
        asked=tuple(
            each for each in (*asked, *map(_settled, presumed.settled)) if (each.job, each.tier) in offers
        ),
        presumed=tuple(call for call in presumed.unknown if (call.job, call.tier) in offers),
        offers=offers,
    )


def read_settled(connection: DuckDBPyConnection, jobs: Sequence[JobId]) -> list[Asked]:
    """Calls that were settled when their job closed."""
    return [_asked(row) for row in _rows(connection, "settled", jobs)]


async def read_presumed(connection: DuckDBPyConnection, ledger: Ledger, jobs: Sequence[JobId]) -> Presumed:
    """Raises UnknownJob, as read_ours does."""
    places: dict[tuple[JobId, Generation, BatchIndex], dict[CallId, Nano]] = defaultdict(dict)
    for row in _rows(connection, "presumed", jobs):
        places[(row["job"], row["asked_in"], row["batch"])][row["call_id"]] = _nano(row["cost_usd"])
    found: list[CallRow] = []
    for (job, generation, batch), wanted in places.items():
        known = {call.call_id: call for call in await ledger.calls(job, generation, batch)}
        if not wanted.keys() <= known.keys():
            raise UnknownJob(job=job)
        found += [known[call_id] for call_id in sorted(wanted)]
    return Presumed(
        unknown=tuple(call for call in found if call.presumed),
        settled=tuple(call for call in found if not call.presumed),
        charges={call_id: charge for wanted in places.values() for call_id, charge in wanted.items()},
    )


def sent_at(call: CallRow) -> datetime:
    """When a call was sent; of one that nobody came back from, when its money was held."""
    return datetime.fromtimestamp((call.sent_at or call.held_at) / 1000, UTC)


def edges(moment: datetime) -> tuple[bool, bool]:
    """Whether what was sent then may be billed on the day before, or on the day after."""
    minutes = moment.hour * 60 + moment.minute
    return minutes < EARLY_MINUTES, minutes >= 24 * 60 - LATE_MINUTES


def _asked(row: Mapping[str, Any]) -> Asked:
    return Asked(
        job=row["job"],
        tier=row["tier"],
        model=row["model"],
        day=row["day"],
        usage=Usage(**{name: int(row[name]) for name in TOKEN_CLASSES}),
        requests=row["requests"],
        cost=_nano(row["cost_usd"]),
        doubtful=row["doubtful"],
        doubtful_cost=_nano(row["doubtful_usd"]),
        early=row["early"],
        late=row["late"],
    )


def _settled(call: CallRow) -> Asked:
    """A call that came to its true cost after its job had closed."""
    moment = sent_at(call)
    early, late = edges(moment)
    billed = call.outcome not in ("rate_limited", "rejected", "unreachable")
    return Asked(
        job=call.job, tier=call.tier, model=call.model, day=moment.date(), usage=call.usage, requests=int(billed),
        cost=call.cost, early=early, late=late,
    )  # fmt: skip


Offers = dict[tuple[JobId, TierName], Offer]


async def _offers(storage: Storage, jobs: Sequence[JobId], form: Form) -> Offers:
    found = {}
    for data in await asyncio.gather(*(storage.read(lake.manifest(job)) for job in jobs)):
        pinned = manifest.decode(data)
        spec = pinned.job_spec()
        for tier in spec.tiers:
            price = pinned.prices.get(TierName(tier.name))
            if isinstance(tier, OpenAITier | BedrockTier) and price is not None:
                offer = Offer(model=tier.model, price=price, expected=_is_expected(tier, form))
                found[(pinned.job, TierName(tier.name))] = offer
        use, price = encoder_of(spec), pinned.prices.get(ENCODER)
        if use is not None and price is not None:  # embeddings have an export of their own
            found[(pinned.job, ENCODER)] = Offer(model=use.model, price=price, expected=False)
    return found


def _at_home(offers: Offers) -> Offers:
    """Without other endpoints of a model that was asked at the provider's own too: their usage is elsewhere."""
    home = {offer.model for offer in offers.values() if offer.expected}
    return {name: offer for name, offer in offers.items() if offer.expected or offer.model not in home}


def _is_expected(tier: Tier, form: Form) -> bool:
    """Whether an export of this form shows what the tier was asked, as far as its endpoint tells."""
    if isinstance(tier, BedrockTier):
        return form == "bedrock"
    return isinstance(tier, OpenAITier) and urlsplit(tier.base_url).hostname == _HOSTS.get(form)


def _rows(connection: DuckDBPyConnection, name: str, jobs: Sequence[JobId]) -> list[dict[str, Any]]:
    answer = ask(connection, _sql(name), {"jobs": list(jobs)})
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _sql(name: str) -> str:
    text = (files("pipeline.reconcile") / "ours.sql").read_text(encoding="utf-8")
    return named(text)[name].replace("{early}", str(EARLY_MINUTES)).replace("{late}", str(LATE_MINUTES))


def _nano(usd: Decimal) -> Nano:
    return Nano(int(usd * NANO_PER_USD))
