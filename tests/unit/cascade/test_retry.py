"""What a reply leads to, decided without a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cascade.retry import FIRST_WAIT_S, LONGEST_WAIT_S, backoff, decide, simpler
from schemas.records import Reply
from tests.unit.cascade.desk import CUT, NOT_SENT, http, ok, request

NO_FORMAT = b'{"error": "response_format json_schema is not supported"}'
NO_LOGPROBS = b'{"error": "logprobs are not available"}'


@pytest.mark.parametrize(
    ("reply", "kind", "outcome"),
    [
        (ok(), "read", "ok"),
        (NOT_SENT, "retry", "unreachable"),
        (CUT, "retry", "presumed"),
        (Reply(status=200, body=b"{", complete=False), "retry", "presumed"),
        (http(500), "retry", "presumed"),
        (http(529), "retry", "presumed"),
        (http(429), "retry", "rate_limited"),
        (http(400), "escalate", "rejected"),
        (http(400, NO_FORMAT), "change", "rejected"),
        (http(400, NO_LOGPROBS), "change", "rejected"),
        (http(422, NO_FORMAT), "change", "rejected"),
        (http(401), "escalate", "rejected"),
        (http(404), "escalate", "rejected"),
    ],
)
def test_what_a_reply_leads_to(reply: Reply, kind: str, outcome: str) -> None:
    decision = decide(reply, request(), 0, lambda: 0.5)

    assert (decision.kind, decision.outcome) == (kind, outcome)
    assert (decision.wait_s > 0) == (kind == "retry")


def test_what_the_request_does_not_hold_cannot_be_left_out() -> None:
    plain = request(schema=False)

    assert decide(http(400, NO_FORMAT), plain, 0, lambda: 0.5).kind == "escalate"
    without = simpler(plain, http(400, NO_LOGPROBS))
    assert without is not None
    assert not without.logprobs
    assert simpler(without, http(400, NO_LOGPROBS)) is None


def test_the_schema_is_left_out_before_the_logprobs() -> None:
    changed = simpler(request(), http(400, NO_FORMAT + NO_LOGPROBS))

    assert changed is not None
    assert changed.schema is None
    assert changed.logprobs


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_a_floor(status: int) -> None:
    reply = http(status, retry_after_s=90.0)

    assert decide(reply, request(), 0, lambda: 0.0).wait_s == 90.0
    assert decide(reply, request(), 0, lambda: 1.0).wait_s == 90.0 + FIRST_WAIT_S


@given(st.integers(0, 100_000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e6))
def test_full_jitter_over_a_window_that_doubles_up_to_a_limit(
    attempt: int, drawn: float, floor: float | None
) -> None:
    wait = backoff(attempt, lambda: drawn, floor)
    window = FIRST_WAIT_S * 2 ** min(attempt, 20)

    assert wait == (floor or 0) + drawn * min(window, LONGEST_WAIT_S)
