"""The records that flow through a batch: query, plan, request, reply, completion, answer, vote, result."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from schemas.ids import BatchIndex, CallId, Fence, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Usage

# stratum: the reference is asked about a row drawn from those that were answered with one label
Purpose = Literal["answer", "judge", "taxonomy", "audit", "stratum", "embed"]
Lane = Literal["realtime", "batch", "local"]  # local: in this process, never held or billed
Status = Literal["answered", "review", "deferred", "cancelled", "rejected", "failed"]
Route = Literal["rule", "taxonomy", "learned", "explore", "student", "ladder"]

# What became of a call. `presumed`: sent, outcome unknown, charged in full. `lost`: its reply never came, and the
# provider's export says that it was billed.
Outcome = Literal[
    "ok",
    "truncated",
    "malformed",
    "refused",
    "reused",
    "rate_limited",
    "rejected",
    "unreachable",
    "presumed",
    "lost",
]
FinishReason = Literal["stop", "length", "refusal", "content_filter", "malformed", ""]

AGREEMENT = 1.5  # log-odds of all other tiers agreeing, against half of them, until rewards say better

Value = str | list[str] | dict[str, Any]  # an answer: one label or text; a set or path of labels; an object


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One document to answer."""

    query_id: QueryId
    text: str  # as read; masked only on its way out
    fields: dict[str, str] = {}  # the other columns of its row, as text
    gold: str | None = None  # the known right answer, where the input has it; never shown to a tier
    examples: tuple[tuple[str, str], ...] = ()  # documents like it with their answers, the most similar last
    rejected: str | None = None  # why the row cannot be asked; it then ends as a rejected result
    vector: bytes = b""  # float32, what an endpoint made of its text for routing; empty: nothing


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What the first lease of a batch fixes, so that a redelivery plans alike."""

    policy_version: str
    price_of_money: float = 0.0  # λ, USD⁻¹
    seed: int = 0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to commit one batch, until someone takes it with a larger fence."""

    job: JobId
    generation: Generation
    batch: BatchIndex
    fence: Fence
    owner: str
    attempts: int  # leases so far without a call journalled in between; above the limit the batch is poison
    pin: Pin


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a query stands in the taxonomy."""

    category: str  # path of the node, "/"-joined; "" is the root
    score: float  # 0..1 of the best category
    familiar: bool  # one category clear of the rest
    source: Literal["rule", "fast", "slow", "none"]
    runner_up: str = ""
    margin: float = 0.0
    guards: tuple[
        str, ...
    ] = ()  # sensitive categories it may belong to as well: their tiers alone may see it


class Onward(Protocol):
    """What a policy knows of one query, to plan its rest again once an answer is there."""

    def replan(self, plan: "Plan", asked: Sequence[TierName], confidence: float, standing: float) -> "Plan":
        """A plan that begins with the tiers asked, none of them `plan`'s further ones; `plan` itself where it stands.

        confidence: P(correct) of the last answer; standing: of the answer that would stand if nothing more were asked.
        The same whenever it is asked the same."""
        ...


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """For one query: the tiers to ask in order and when to stop."""

    tiers: tuple[TierName, ...]
    accept: tuple[float, ...]  # P(correct) from which the tier at the same position is believed
    route: Route
    policy_version: str
    propensity: float | None = 1.0  # of the whole plan; None where it is not known
    step: int = 0
    fuses: bool = False  # the answers paid for vote on the one that stands
    voices: dict[
        TierName, tuple[float, float]
    ] = {}  # what rewards add to a tier's log-odds, and multiply them by
    onward: Onward | None = None  # plans the rest again after each answer; None: nothing changes the plan

    @property
    def planned(self) -> int:
        """How many tiers lead to one whose every valid answer stands; those above are for answers that are not."""
        return self.accept.index(0.0) + 1 if 0.0 in self.accept else len(self.tiers)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a tier is asked, before it is put into a provider's wire format."""

    system: str  # the same for all queries of a job, so that prompt caches hit
    user: str  # the document, last
    examples: tuple[
        tuple[str, str], ...
    ] = ()  # documents with their answers, shown before it by language models
    schema: dict[str, Any] | None = None  # JSON Schema of the reply, where structured output is wanted
    labels: tuple[str, ...] = ()
    max_output_tokens: int
    temperature: float = 0.0
    logprobs: bool = False
    query_id: QueryId  # for tiers that look their answer up (recorded); never sent


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back over the wire, unread. `status` 0: nothing did."""

    status: int  # HTTP status; 200 for in-process tiers
    body: bytes = b""
    sent: bool = True  # False: known not to have reached the provider
    complete: bool = True  # False: cut, timed out; the outcome is unknown
    retry_after_s: float | None = None
    error: str = ""
    latency_ms: int = 0


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A complete reply, read: text, tokens, why it ended."""

    text: str
    finish_reason: FinishReason
    usage: Usage | None = None  # None: the provider did not say; the hold is then charged in full
    confidence: float | None = None  # of the answer, 0..1, from logprobs or the tier itself
    cost: Nano | None = None  # a cost stated by the tier itself, in place of tokens x price
    vector: bytes = b""  # float32, of an embedding


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a completion parses to. `value` None: it does not, and `problem` says why."""

    value: Value | None
    confidence: float | None = None
    problem: str = ""
    abstained: bool = False


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """One judge's word on one answer."""

    judge: str
    version: int
    score: float | None  # 0..1; None: nothing to say, or, with a reason, it failed
    reason: str = ""
    form: str = ""  # how it was asked, where that may sway it


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One tier asked for one query, judged."""

    tier: TierName
    call_id: CallId | None  # None: no call came about
    answer: Answer
    votes: tuple[Vote, ...]
    confidence: float  # P(correct) by the combiner
    accepted: bool
    reason: str  # why accepted or escalated
    replanned: tuple[TierName, ...] | None = (
        None  # what is planned from here on instead; None: the plan stood
    )
    cost: Nano = Nano(0)
    judging: Nano = Nano(0)  # what judges asked about the answer
    missed: str = ""  # why a judge got no reply from a tier; what it would have said is not known
    usage: Usage = Usage()
    latency_ms: int = 0
    agreement: float = (
        AGREEMENT  # log-odds of all other tiers agreeing, against half of them, as it was judged
    )


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The one final row of a query, with the steps that led to it."""

    query_id: QueryId
    status: Status
    value: Value | None
    confidence: float | None
    tier: TierName | None
    steps: tuple[Step, ...]
    assignment: Assignment
    plan: Plan
    reason: str
    finished_at: int  # Unix ms


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's calls of a batch or a generation, summed up: equal totals, nothing settled since."""

    calls: int = 0
    cost: int = 0  # nano-dollars
    presumed: int = 0  # calls whose outcome is unknown
    held: int = 0  # calls still in flight

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            calls=self.calls + other.calls,
            cost=self.cost + other.cost,
            presumed=self.presumed + other.presumed,
            held=self.held + other.held,
        )


class TierTally(msgspec.Struct, frozen=True, kw_only=True):
    """One tier in the queries of a batch that ended so far."""

    asked: int = 0  # queries it was asked about
    stood: int = 0  # queries whose answer is its
    latency_ms: int = 0  # the median of its latest calls; 0: none
    window: int = 0  # calls at once that its holder's pace allows by now; 0: no limit is known


class Mishap(msgspec.Struct, frozen=True, kw_only=True):
    """A tier that gave no answer to a query."""

    at: int  # Unix ms
    tier: TierName
    why: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is that is not committed yet."""

    statuses: dict[str, int] = {}  # status -> number of results
    tiers: dict[TierName, TierTally] = {}
    mishaps: tuple[Mishap, ...] = ()  # the latest few


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """The commit point of a batch: whoever creates it first wins."""

    job: JobId
    generation: Generation
    batch: BatchIndex
    fence: Fence
    files: dict[str, str]  # table -> key of its part
    rows: dict[str, int]  # table -> number of rows
    statuses: dict[str, int]  # status -> number of results
    tiers: dict[str, int]  # tier -> number of answers that stand on it
    asked: dict[str, int] = {}  # tier -> number of queries it was asked about
    ledger: Totals = Totals()  # when the parts were written
