"""The ledger's decisions, free of any storage: who may spend, what a settlement moves, who gets a lease.

The in-memory twin and the SQL ledger both decide here, so they cannot drift apart.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from pipeline.ledger.errors import CallEnded
from pipeline.ports.ledger import Denied, Held, Intent, JobState, Known, Refusal, Settlement, StopReason
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId
from schemas.money import Usage, format_usd
from schemas.records import Outcome, Purpose

CallState = Literal["held", "settled", "presumed", "released"]

COMPLETE: frozenset[Outcome] = frozenset({"ok", "truncated", "malformed", "refused"})
UNBILLED: frozenset[Outcome] = frozenset({"rate_limited", "rejected", "unreachable"})
MOST = 2**62  # nano-dollars (4.6 billion USD): the largest cap that fits 64 bits with room for a sum
RECENT_MS = 3_600_000  # for which a closed job's account is still watched

Key = tuple[JobId, bytes, int]  # job, request hash, sample: what makes two requests equal
Place = tuple[JobId, Generation, BatchIndex]


class Balance(msgspec.Struct):
    """An account while a group of operations is decided; `d_*` is what the group moved."""

    account: AccountId
    cap: int
    spent: int
    held: int
    presumed: int
    d_spent: int = 0
    d_held: int = 0
    d_presumed: int = 0

    def move(self, spent: int, held: int, presumed: int) -> None:
        self.spent += spent
        self.held += held
        self.presumed += presumed
        self.d_spent += spent
        self.d_held += held
        self.d_presumed += presumed

    def moved(self) -> bool:
        return bool(self.d_spent or self.d_held or self.d_presumed)

    def stand(self) -> None:
        """What the group moved is committed."""
        self.d_spent = self.d_held = self.d_presumed = 0


class Gate(msgspec.Struct, frozen=True):
    """What lets a holder in: the state of its job and the fence of its batch."""

    generation: int
    state: JobState
    stop: StopReason | None
    fence: int


class Former(msgspec.Struct):
    """An earlier call with the same request."""

    call_id: CallId
    state: CallState
    attempt: int
    outcome: Outcome | None = None
    query_id: QueryId = QueryId("")
    step: int = 0
    purpose: Purpose = "answer"
    cost: int = 0
    latency_ms: int = 0
    settled_at: int = 0
    usage: Usage = Usage()
    body: bytes | None = None


class Wait(msgspec.Struct, frozen=True):
    """Not now: the account is held up to its cap, or an equal call is in flight."""

    account: AccountId | None = None
    call: CallId | None = None


class Effect(msgspec.Struct, frozen=True):
    """What a settlement does to its call and moves along the chain of accounts."""

    state: CallState
    cost: int
    spent: int
    held: int
    presumed: int


Verdict = Held | Known | Denied | Wait


def key_of(intent: Intent) -> Key:
    return (intent.lease.job, intent.request_hash, intent.sample)


def intent_key(intent: Intent) -> tuple[object, ...]:
    """What an intent is unique by, but for its attempt."""
    lease = intent.lease
    return (
        lease.job,
        lease.generation,
        intent.query_id,
        intent.step,
        intent.purpose,
        intent.tier,
        intent.sample,
    )


def place_of(intent: Intent) -> Place:
    lease = intent.lease
    return (lease.job, lease.generation, lease.batch)


def decide(
    intent: Intent,
    gate: Gate | None,
    formers: Sequence[Former],
    chain: Sequence[Balance],
    blocked: set[AccountId],
) -> Verdict:
    """The answer to one hold. `blocked`: accounts for which an earlier hold waits, so that none overtakes it.

    Raises CallEnded where the call_id was used up before.
    """
    attempt = intent.attempt if intent.attempt > 1 else 1
    if formers:
        # before the gate: a hold whose COMMIT was not heard is durable, and nobody else will ever settle it
        for former in formers:
            if former.call_id == intent.call_id and former.state == "held":
                return Held(former.call_id, former.attempt)
        attempt = max(attempt, *(former.attempt + 1 for former in formers))
    earlier = _refused(intent, gate) or (_asked_before(intent, formers) if formers else None)
    return earlier or _short_of_money(intent.amount, chain, blocked) or Held(intent.call_id, attempt)


def _asked_before(intent: Intent, formers: Sequence[Former]) -> Known | Wait | None:
    known = _known(intent, formers)
    if known is not None:
        return known
    if any(former.call_id == intent.call_id for former in formers):
        raise CallEnded(call=intent.call_id)
    for former in formers:
        if former.state == "held":
            return Wait(call=former.call_id)
    return None


def _refused(intent: Intent, gate: Gate | None) -> Denied | None:
    if gate is None:
        return Denied("fenced", "no such batch")
    if gate.stop is not None:
        return Denied(gate.stop)
    lease = intent.lease
    if gate.generation != lease.generation or gate.state == "closed":
        return Denied("fenced", f"generation {lease.generation} is over")
    if gate.fence != lease.fence:
        return Denied(
            "fenced", f"batch {lease.batch} went on to fence {gate.fence}, this holder has {lease.fence}"
        )
    return None


def is_reply(outcome: str | None, body: bytes | None) -> bool:
    """Whether a complete response was received, whoever was charged what for it."""
    return outcome in COMPLETE and body is not None


def _known(intent: Intent, formers: Sequence[Former]) -> Known | None:
    replies = [former for former in formers if is_reply(former.outcome, former.body)]
    if not replies:
        return None
    last = max(replies, key=lambda former: (former.settled_at, former.attempt))
    same = (last.query_id, last.step, last.purpose) == (intent.query_id, intent.step, intent.purpose)
    body = last.body or b""
    return Known(last.call_id, body, Nano(last.cost), last.latency_ms, same, last.usage)


def _short_of_money(amount: int, chain: Sequence[Balance], blocked: set[AccountId]) -> Denied | Wait | None:
    for balance in chain:
        if balance.spent + amount > balance.cap:
            return Denied(
                "exhausted",
                f"account {balance.account}: cap {format_usd(balance.cap)}, "
                f"spent {format_usd(balance.spent)}, this call needs {format_usd(amount)}",
            )
    for balance in chain:
        if balance.account in blocked or balance.spent + balance.held + amount > balance.cap:
            return Wait(account=balance.account)
    return None


def carried(balance: Balance, spendable: int, most: int) -> int:
    """What a period that ended hands on: the cap it gives up is never below what it has spent, holds, and what its
    open jobs may yet spend."""
    return max(0, min(most, balance.cap - balance.spent - max(balance.held, spendable)))


def effect_of(
    settlement: Settlement, *, state: CallState, amount: int, charged: int, replied: bool
) -> Effect | None:
    """What the settlement changes; None where the call has ended and its journal stands.

    `charged` is the cost recorded so far, `replied` whether a complete response is journalled.
    """
    unknown = settlement.presumed or settlement.outcome == "presumed"
    cost = max(settlement.cost, amount, charged) if unknown else settlement.cost
    if state == "held":
        return Effect(_ended(settlement, cost, unknown), cost, cost, -amount, cost if unknown else 0)
    if state != "presumed" or (unknown and replied):
        return None
    moved = cost - charged
    return Effect(_ended(settlement, cost, unknown), cost, moved, 0, moved if unknown else -charged)


def _ended(settlement: Settlement, cost: int, unknown: bool) -> CallState:
    if unknown:
        return "presumed"
    return "released" if cost == 0 and settlement.outcome in UNBILLED else "settled"


def lease_refusal(
    *, current: Generation, state: JobState, wanted: Generation, committed: bool, lease_until: int, now: int
) -> Refusal | None:
    """Why a batch that exists cannot be leased now; None when it can."""
    if wanted < current or state == "closed":
        return "closed"
    if committed:
        return "committed"
    return "leased" if lease_until > now else None


def is_taken(owner: str, lease_until: int, now: int, ttl_ms: int) -> bool:
    """Whether a named lease runs. One that ends later than any could was written by a clock that was set back since:
    waiting for it could take hours, and doing such work twice is harmless."""
    return bool(owner) and now < lease_until <= now + 2 * ttl_ms


def check_hold(intent: Intent) -> None:
    """A negative hold would raise every cap above it."""
    if not 0 <= intent.amount <= MOST:
        raise ValueError(f"call {intent.call_id}: a hold of {intent.amount} nano is out of range")


def check_settlement(settlement: Settlement) -> None:
    if not 0 <= settlement.cost <= MOST:
        raise ValueError(
            f"call {settlement.call_id}: a cost of {settlement.cost} nano-dollars is out of range"
        )
