"""The transactional store for money, leases and the call journal.

Rules: spent + held <= cap for every account of a call's chain; a hold whose outcome
is unknown is charged in full and marked presumed, never refunded by a timer; journal and settlement are one
transaction and are taken from any holder whatever its fence; only commits are fenced.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from pipeline.ports.deliveries import Deliveries
from pipeline.ports.schedules import Schedules
from schemas.ids import AccountId, BatchIndex, CallId, Fence, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Usage
from schemas.records import FinishReason, Lane, Lease, Outcome, Pin, Purpose, Tally, Totals


class Account(msgspec.Struct, frozen=True, kw_only=True):
    account: AccountId
    parents: tuple[AccountId, ...]  # a hold must fit in each of them, and in theirs
    cap: Nano
    spent: Nano  # settled and presumed
    held: Nano
    presumed: Nano  # the part of spent that stands for unknown outcomes


JobState = Literal["running", "closing", "closed"]
StopReason = Literal["cancelled", "over_hold", "infeasible"]  # infeasible: its target can not be certified


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

    reason: Literal["exhausted", "cancelled", "over_hold", "infeasible", "fenced"]
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
    held_at: int = 0  # Unix ms; `sent_at` is 0 where nobody came back to say


REUSED: tuple[Purpose, ...] = (
    "answer",
    "taxonomy",
    "embed",
)  # an audit is to be independent of what was said before


class Kept(msgspec.Struct, frozen=True):
    """A reply of the journal."""

    call_id: CallId
    body: bytes


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """What a process reports of an upstream since it last did, and what it asks of it."""

    permits: int = 0  # calls it would begin at once
    cost: int = 0  # µs that the stated limits give each of them; 0: no limit is stated
    back: int = 0  # µs that earlier calls were given and did not need; below 0: they needed more
    answered: int = 0  # calls
    answered_at: int = 0  # Unix ms at which the latest of them was sent, or of those refused; 0: none was
    failed: int = 0  # calls after it that were not: 5xx, timeout, cut, no connection
    limited: int = 0  # 429s
    limited_at: int = 0  # Unix ms at which the latest of them was sent
    pause: int = 0  # ms for which the upstream wants no call
    away: int = 0  # the same where it is too long to be called a pause: the tier is down
    problem: str = ""  # of the last failure, without anything the upstream said


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """Permits: one at `start`, the next `step` later. One that is not used when it is due lapses."""

    permits: int
    start: int  # Unix µs
    step: int = 0  # µs
    free: bool = False  # neither limited nor down: calls need no permit
    ask_at: int  # Unix ms; there are no more permits before
    parked_at: int = 0  # Unix ms; 0: up. The one permit then given is a probe
    problem: str = ""  # why it is parked


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """What all processes together know of an upstream."""

    next_at: int = 0  # Unix µs from which it is free
    rate: int = 0  # calls a minute after the last 429s; 0: unlimited as far as is known
    ceiling: int = 0  # calls a minute at which they came; 0: not known
    cut_at: int = 0  # Unix ms of the last cut of the rate
    grown_ms: int = 0  # time since then in which the rate was used up
    drawn_at: int = 0  # Unix ms of the last permits
    limited: int = 0  # 429s
    answered_since: int = 0  # calls since the last cut
    limited_since: int = 0
    failures: int = 0  # in a row
    parked_at: int = 0  # Unix ms; 0: up
    probe_at: int = 0  # Unix ms from which one caller may see whether it is up again
    problem: str = ""


Refusal = Literal["committed", "leased", "closed", "unknown"]


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch asks of the money that is left. Amounts are expected costs, but for `hold`."""

    lease: Lease
    account: AccountId
    queries: int  # that want money; 0: it gives back what was set aside for it
    most: Nano  # it can use no more than this
    least: Nano = Nano(0)  # less than this buys nothing
    hold: Nano = Nano(0)  # the smallest hold it would take
    rows: int = 0  # queries of a batch that has not asked yet
    again: bool = False  # this holder has asked before


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch may expect to spend until it asks again; an estimate, only holds are binding."""

    amount: Nano  # 0: nothing it could use
    later: bool  # others may give something back: ask again
    free: Nano  # cap - spent of the tightest account: no larger hold can be granted
    tightest: AccountId


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A batch under a running lease."""

    batch: BatchIndex
    owner: str
    lease_until: int  # Unix ms
    tally: Tally | None  # None: its holder has noted nothing yet


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on in a generation at this moment."""

    under_way: Sequence[UnderWay]  # in order of their batches
    held: dict[TierName, int]  # calls in flight


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is not closed, as its batches and calls stand."""

    job: JobId
    created_at: int  # Unix ms
    batches: int  # of its generation
    committed: int
    leased: int  # under a running lease
    attempts: int  # the most leases that one of its open batches had without progress
    overdue_at: int  # Unix ms at which the oldest lease ran out whose batch nobody took up; 0: none did
    held_at: int  # Unix ms of the oldest hold; 0: nothing is held


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator watches."""

    clock: int  # Unix ms by the clock of the ledger's own machine
    states: dict[str, int]  # of all jobs
    stops: dict[str, int]
    jobs: Sequence[Standing]  # those that are not closed
    accounts: Sequence[
        Account
    ]  # of those jobs, those closed within the hour, their parents, and any over its cap
    upstreams: dict[str, Pacing]


class Ledger(Protocol):
    url: str

    @property
    def schedules(self) -> Schedules:
        """In the same store."""
        ...

    @property
    def deliveries(self) -> Deliveries: ...

    async def probe(self) -> None:
        """Raise LedgerUnreachable unless a durable write works; creates the schema where it is missing."""
        ...

    # accounts
    async def open_account(self, account: AccountId, cap: Nano, *parents: AccountId) -> None:
        """Create; an account that exists keeps its cap and its parents."""
        ...

    async def open_period(self, account: AccountId, cap: Nano, carry: Nano) -> None:
        """Create `FAMILY:PERIOD`. Up to `carry` of what the latest period of that family before it has left, beyond
        what its jobs that are not closed may still spend, moves from that cap to this one, in the same transaction.
        An account that exists keeps its cap. Names of a family's periods sort as the periods do."""
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

    async def divide(self, want: Want, now: int) -> Share | None:
        """Set aside a batch's part of what its accounts have left, in step with the queries of its generation that
        want money: batches that have not asked count whole, and until they have, those that ask again get
        nothing. Nobody is told that nothing is left while another batch may give something back and no batch is
        still to come. None: the lease is lost."""
        ...

    async def note(self, lease: Lease, tally: Tally) -> None:
        """How far the batch is, for those who watch; the latest holder's last word, until it commits."""
        ...

    async def activity(self, job: JobId, generation: Generation, now: int) -> Activity:
        """Costs what is in flight, however long the job is."""
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
    async def totals(self, job: JobId, generation: Generation) -> dict[BatchIndex, Totals]:
        """Of each batch that made a call."""
        ...

    async def body(self, call_id: CallId) -> bytes | None: ...
    async def answered(self, job: JobId, request_hashes: Sequence[bytes]) -> set[bytes]:
        """Those of the requests whose reply is in the journal: asking them again costs nothing."""
        ...

    async def replies(
        self, request_hashes: Sequence[bytes], *, since: int, besides: JobId
    ) -> dict[bytes, Kept]:
        """What jobs other than `besides` were answered in full, for an answer or a category, in their first sample:
        the latest settled from `since` (Unix ms) on."""
        ...

    async def presume(self, job: JobId, generation: Generation) -> int:
        """Charge in full what the generation still holds (at close); the number of calls."""
        ...

    # upstreams, by a key that jobs share
    async def draw(self, upstream: str, asked: Draw, now: int) -> Drawn:
        """Report and ask in one go: over any window, permits of all processes stay within the limits."""
        ...

    async def pacing(self, upstream: str) -> Pacing | None: ...

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

    async def overview(self, now: int) -> Overview:
        """All at once and cheap enough for every few seconds; it reads alone."""
        ...

    async def close(self) -> None: ...
