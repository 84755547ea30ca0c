"""A tier as it runs in this process, and what came of asking it."""

import msgspec

from pipeline.cascade.pace import Pace
from pipeline.ports.ledger import Denied
from pipeline.ports.provider import Provider
from schemas.ids import CallId, Nano, TierName
from schemas.money import Usage
from schemas.records import Completion, FinishReason, Outcome, Purpose

_OUTCOMES: dict[FinishReason, Outcome] = {
    "length": "truncated",
    "malformed": "malformed",
    "refusal": "refused",
    "content_filter": "refused",
}


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One tier."""

    name: TierName
    provider: Provider
    pace: Pace
    trust: float
    retries: int
    logprobs: bool
    max_output_tokens: int | None  # overrides the task's
    room: int  # estimated tokens of the longest document it can read


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking a tier once, retries included. Without a completion, `problem` says why."""

    completion: Completion | None
    purpose: Purpose = "answer"
    outcome: Outcome | None = None
    call_id: CallId | None = None
    problem: str = ""
    parked: bool = False  # the tier is down
    denied: Denied | None = None
    cost: Nano = Nano(0)  # of the attempt that was read
    usage: Usage = Usage()
    latency_ms: int = 0
    sent_at: int = 0
    reused_from: CallId | None = None  # whose reply it is, where an equal request was answered before
    request_hash: bytes = b""

    @property
    def reused(self) -> bool:
        return self.reused_from is not None


def outcome_of(completion: Completion) -> Outcome:
    """Of a complete reply."""
    return _OUTCOMES.get(completion.finish_reason, "ok")
