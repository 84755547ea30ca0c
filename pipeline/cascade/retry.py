"""What to do after a reply, as a returned decision: settle, try again, change the request, or give the tier up."""

from collections.abc import Callable
from typing import Literal

import msgspec

from schemas.records import Outcome, Reply, Request

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_ASKED_S = 120.0  # a provider that wants to be left alone for longer is unavailable


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`read`: the reply is complete, read it. `retry` and `change`: ask again; `escalate`: leave this tier."""

    kind: Literal["read", "retry", "change", "escalate"]
    outcome: Outcome = "ok"  # of this attempt, where it is not read
    wait_s: float = 0.0


READ = Decision(kind="read")


def decide(reply: Reply, request: Request, attempt: int, random: Callable[[], float]) -> Decision:
    """By what is known of the wire: not sent, 4xx and 429 cost nothing; an unknown outcome is presumed."""
    if not reply.sent:
        return Decision(kind="retry", outcome="unreachable", wait_s=backoff(attempt, random))
    if not reply.complete or reply.status >= 500:
        return Decision(
            kind="retry", outcome="presumed", wait_s=backoff(attempt, random, reply.retry_after_s)
        )
    if reply.status == 429 and (reply.retry_after_s or 0) > LONGEST_ASKED_S:
        return Decision(kind="escalate", outcome="rate_limited")
    if reply.status == 429:
        wait_s = backoff(attempt, random, reply.retry_after_s)
        return Decision(kind="retry", outcome="rate_limited", wait_s=wait_s)
    if reply.status >= 400:
        kind: Literal["change", "escalate"] = "change" if simpler(request, reply) else "escalate"
        return Decision(kind=kind, outcome="rejected")
    return READ


def backoff(attempt: int, random: Callable[[], float], at_least_s: float | None = None) -> float:
    """Full jitter over a doubling window; what the provider asked for is a floor, never cut short."""
    window: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 30))
    return (at_least_s or 0.0) + random() * window


def simpler(request: Request, reply: Reply) -> Request | None:
    """The request without what the endpoint says it does not have; None where nothing can be left out."""
    said = reply.body[:4000]
    if request.schema is not None and any(word in said for word in (b"response_format", b"json_schema")):
        return msgspec.structs.replace(request, schema=None)
    if request.logprobs and b"logprobs" in said:
        return msgspec.structs.replace(request, logprobs=False)
    return None
