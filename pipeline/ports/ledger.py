"""The transactional store for money, leases and the call journal.

Rules: spent + held <= cap for every account of a call's chain; a hold whose outcome
is unknown is charged in full and marked presumed, never refunded by a timer; journal and settlement are one
transaction and are taken from any holder whatever its fence; only commits are fenced.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from schemas.ids import AccountId, BatchIndex, CallId, Fence, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Usage
from schemas.records import FinishReason, Lane, Lease, Outcome, Pin, Purpose, Totals


class Account(msgspec.Struct, frozen=True, kw_only=True):
    account: AccountId
    parent: AccountId | None
    cap: Nano
    spent: Nano  # settled and presumed
    held: Nano
    presumed: Nano  # the part of spent that stands for unknown outcomes


JobState = Literal["running", "closing", "closed"]
StopReason = Literal["cancelled", "over_hold"]


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    name: str
    account: AccountId
    generation: Generation
    state: JobState
    stop: StopReason | None
    batches: int  # of this generation
    committed: int  # of this generation
    created_at: int  # Unix ms
    closed_at: int | None  # Unix ms


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A call about to be made. The caller draws `call_id`, so that a hold can be repeated safely."""

    call_id: CallId
    lease: Lease
    account: AccountId
    query_id: QueryId
    tier: TierName
    model: str
    request_hash: bytes
    amount: Nano  # the most it can cost
    attempt: int  # at least this; the ledger gives the next free one
    purpose: Purpose = "answer"
    step: int = 0
    sample: int = 0
    lane: Lane = "realtime"


class Held(msgspec.Struct, frozen=True):
    """Go ahead: the hold is durable."""

    call_id: CallId
    attempt: int


class Known(msgspec.Struct, frozen=True):
    """The same request of this job was answered before: here is the reply, at no cost."""

    call_id: CallId
    body: bytes
    cost: Nano
    latency_ms: int
    same_query: bool  # made for this very query and step (a redelivery), not for an equal one
    usage: Usage


class Denied(msgspec.Struct, frozen=True):
    """No call. `exhausted`: spent + amount > cap, and waiting would not help. `fenced`: the lease is lost."""

    reason: Literal["exhausted", "cancelled", "over_hold", "fenced"]
    detail: str = ""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a held call, with the reply to journal. `cost` above the hold halts the job."""

    call_id: CallId
    outcome: Outcome
    cost: Nano
    body: bytes | None = None  # the complete reply, exactly as received; None where there was none
    usage: Usage = Usage()
    presumed: bool = False  # the cost is the hold, because nobody knows
    finish_reason: FinishReason = ""
    latency_ms: int = 0
    sent_at: int = 0  # Unix ms
    error: str = ""


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the journal, without the body."""

    call_id: CallId
    job: JobId
    generation: Generation
    batch: BatchIndex
    query_id: QueryId
    step: int
    purpose: Purpose
    tier: TierName
    model: str
    lane: Lane
    sample: int
    attempt: int
    outcome: Outcome | None  # None: still held
    finish_reason: FinishReason
    usage: Usage
    held: Nano
    cost: Nano
    presumed: bool
    latency_ms: int
    sent_at: int
    request_hash: bytes
    error: str


Refusal = Literal["committed", "leased", "closed", "unknown"]


class Ledger(Protocol):
    url: str

    async def probe(self) -> None:
        """Raise LedgerUnreachable unless a durable write works; creates the schema where it is missing."""
        ...

    # accounts
    async def open_account(self, account: AccountId, cap: Nano, parent: AccountId | None = None) -> None:
        """Create; an account that exists keeps its cap and its parent."""
        ...

    async def raise_cap(self, account: AccountId, by: Nano) -> None: ...
    async def account(self, account: AccountId) -> Account | None: ...

    # jobs and generations
    async def create_job(self, job: JobId, *, name: str, account: AccountId, batches: int, now: int) -> bool:
        """Generation 1 with that many batches; False when the job exists."""
        ...

    async def job(self, job: JobId) -> JobRow | None: ...
    async def jobs(self) -> list[JobRow]: ...
    async def stop_job(self, job: JobId, reason: StopReason) -> None:
        """From now on every hold of the job is denied with this reason."""
        ...

    async def start_generation(self, job: JobId, after: Generation, batches: int) -> bool:
        """Begin generation after+1 of a closed job and lift its stop; False unless it stands closed at `after`."""
        ...

    async def close_generation(self, job: JobId, generation: Generation, now: int) -> None: ...

    # batches
    async def lease_batch(
        self,
        job: JobId,
        generation: Generation,
        batch: BatchIndex,
        *,
        owner: str,
        pin: Pin,
        now: int,
        ttl_ms: int,
    ) -> Lease | Refusal:
        """Take the batch if nobody holds a running lease. The new fence presumes what older fences still hold."""
        ...

    async def open_batches(self, job: JobId, now: int) -> list[BatchIndex]:
        """Batches of the current generation that are neither committed nor under a running lease."""
        ...

    async def lost_batches(self, job: JobId, now: int, quiet_ms: int) -> list[BatchIndex]:
        """Open batches to publish again, noted as published now: those whose lease ran out and that were not
        published within `quiet_ms`, and those nobody ever took within ten times that."""
        ...

    async def renew(self, lease: Lease, now: int, ttl_ms: int) -> JobRow | None:
        """Prolong; None when the lease is lost."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the batch back unfinished, ready for the next holder."""
        ...

    async def commit_batch(self, job: JobId, generation: Generation, batch: BatchIndex) -> int:
        """Note a commit that stands in the lake (idempotent); the number of batches still open."""
        ...

    # calls
    async def hold(self, intent: Intent) -> Held | Known | Denied:
        """Set money aside in the whole chain of accounts. Waits while money is only held, and while an equal
        request of the job is in flight elsewhere."""
        ...

    async def settle(self, settlement: Settlement) -> bool:
        """Journal and settle in one transaction; idempotent; False when the cost broke the hold."""
        ...

    async def calls(
        self, job: JobId, generation: Generation, batch: BatchIndex | None = None
    ) -> Sequence[CallRow]: ...
    async def totals(self, job: JobId, generation: Generation) -> Totals: ...
    async def body(self, call_id: CallId) -> bytes | None: ...
    async def presume(self, job: JobId, generation: Generation) -> int:
        """Charge in full what the generation still holds (at close); the number of calls."""
        ...

    # named leases, for work that one process at a time may do
    async def take(self, name: str, *, owner: str, now: int, ttl_ms: int) -> Fence | None: ...
    async def keep(self, name: str, *, owner: str, fence: Fence, now: int, ttl_ms: int) -> bool: ...
    async def give_back(self, name: str, *, owner: str, fence: Fence) -> None: ...

    async def owners(self, now: int) -> set[str]:
        """Who holds a running lease of a batch or a name."""
        ...

    async def end_leases(self, owner: str) -> None:
        """End every lease of an owner that is known to be dead, as if they had run out."""
        ...

    async def close(self) -> None: ...
