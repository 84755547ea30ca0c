"""The path every call passes through: what a group of holds and settlements reads and writes.

It goes to the database's driver itself: SQLAlchemy would cost as much as the database does.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from pipeline.ledger.rules import COMPLETE, Balance, CallState, Former, Gate, Key, Place
from pipeline.ports.ledger import Intent, Settlement
from schemas.ids import AccountId, CallId, JobId
from schemas.money import Usage

HOLD = (
    "call_id", "job", "generation", "batch", "fence", "account", "query_id", "step", "purpose", "tier", "model",
    "lane", "sample", "attempt", "request_hash", "request_key", "amount", "held_at",
)  # fmt: skip
NEWS = (
    "call_id", "state", "cost", "outcome", "finish_reason", "input", "cached_input", "cache_write", "output",
    "reasoning", "latency_ms", "sent_at", "error", "settled_at", "body",
)  # fmt: skip

Granted = tuple[Intent, int]  # a hold and its attempt


class Told(msgspec.Struct):
    """A call as the journal has it, and the last settlement that changed it."""

    call_id: CallId
    job: JobId
    account: AccountId
    state: CallState
    amount: int
    charged: int
    replied: bool
    news: Settlement | None = None
    body: bytes | None = None


class Seen(msgspec.Struct):
    """What a group needs to decide, nobody else moving any of it until the transaction ends."""

    told: dict[CallId, Told]  # the calls to settle
    balances: dict[AccountId, Balance]
    chains: dict[AccountId, list[Balance]]  # from the account itself to the root
    gates: dict[Place, Gate]
    formers: dict[Key, list[Former]]


class Written(msgspec.Struct):
    """What a group changes."""

    now: int  # Unix ms
    granted: Sequence[Granted]  # without what was inserted before
    told: Sequence[Told]
    halted: set[JobId]


class Conflict(Exception):
    """A hold collides with a call that the group did not know of: its intent key or its call_id is taken."""


class Hot(Protocol):
    """One group: `look` begins its transaction, `write` commits it."""

    def look(self, settlements: Sequence[Settlement], intents: Sequence[Intent]) -> Seen:
        """Raises UnknownAccount, UnknownCall."""
        ...

    def insert(self, granted: Granted, now: int) -> bool:
        """Write one hold between the two; False when it collides."""
        ...

    def exists(self, call_id: CallId) -> bool: ...

    def last_attempt(self, intent: Intent) -> int:
        """The last attempt taken of this intent."""
        ...

    def write(self, seen: Seen, written: Written) -> None:
        """Raises Conflict, after which nothing of the group has happened."""
        ...

    def rollback(self) -> None: ...

    def forget(self) -> None:
        """Another transaction is about to run on this connection."""
        ...


def hold_row(granted: Granted, now: int) -> tuple[object, ...]:
    """The columns HOLD."""
    intent, attempt = granted
    lease = intent.lease
    return (
        intent.call_id,
        lease.job,
        lease.generation,
        lease.batch,
        lease.fence,
        intent.account,
        intent.query_id,
        intent.step,
        intent.purpose,
        intent.tier,
        intent.model,
        intent.lane,
        intent.sample,
        attempt,
        intent.request_hash,
        request_key(intent),
        intent.amount,
        now,
    )


def news_row(call: Told, news: Settlement, now: int) -> tuple[object, ...]:
    """The columns NEWS."""
    usage = news.usage
    return (
        call.call_id,
        call.state,
        call.charged,
        news.outcome,
        news.finish_reason,
        usage.input,
        usage.cached_input,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        news.latency_ms,
        news.sent_at,
        printable(news.error),
        now,
        call.body,
    )


def request_key(intent: Intent) -> int:
    return key_of_hash(intent.request_hash) ^ intent.sample


def key_of_hash(request_hash: bytes) -> int:
    """Finds equal requests, of any job, in an index half the size of one on the hash; may name others too."""
    return int.from_bytes(request_hash[:8], signed=True)


def told_of(row: Sequence[Any]) -> Told:
    """From a row of `calls_to_settle`."""
    call_id, job, account, state, amount, charged, outcome, has_body = row
    return Told(call_id, job, account, state, amount, charged, bool(has_body) and outcome in COMPLETE)


def formers_of(rows: Iterable[Sequence[Any]]) -> dict[Key, list[Former]]:
    """From the rows of `former_calls`."""
    formers: dict[Key, list[Former]] = {}
    for job, request_hash, sample, *rest, body in rows:
        former = Former(*rest[:10])
        former.usage, former.body = usage_of(rest[10:]), None if body is None else bytes(body)
        formers.setdefault((job, bytes(request_hash), sample), []).append(former)
    return formers


def usage_of(tokens: Sequence[int]) -> Usage:
    """Tokens in the order of the columns."""
    given, cached, written, output, reasoning = tokens
    return Usage(input=given, cached_input=cached, cache_write=written, output=output, reasoning=reasoning)


def printable(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogate."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
