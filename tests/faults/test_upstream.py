"""A provider in trouble, and one that bills over its bound."""

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import textclass
from tests.faults.herd import DATASET, JOB, ROWS, check_meter, check_rows, env_claims, journal, watch

UNKNOWN = ("hang", "cut_after", "cut_body")  # metered, and the client cannot know
UNBILLED = ("rate_limited", "unreachable")  # turned away, or never sent since the breaker was open
COMPLETE = {
    "ok": "ok",
    "malformed_content": "ok",
    "malformed_json": "malformed",
    "truncated": "truncated",
    "refusal": "refused",
    "content_filter": "refused",
}
SHARES = {
    "rate_limited": 0.03, "content_filter": 0.03, "server_error": 0.03, "hang": 0.02, "cut_before": 0.03,
    "cut_after": 0.03, "cut_body": 0.03, "malformed_json": 0.03, "malformed_content": 0.03, "truncated": 0.03,
    "refusal": 0.03,
}  # fmt: skip


def test_everything_at_once(place: Tierwise) -> None:
    # Given a provider of which every kind of trouble is known
    with textclass(DATASET, latency_ms=5, shares=SHARES, retry_after_s=0.1) as upstream:
        spec = env_claims(place, upstream, batch=100, slots=32, timeout_s=1.5, retries=2)
        # When a job runs on it
        with watch(upstream, place) as watching:
            running = place.start("run", spec, "--job", JOB)
            _, errors = running.communicate(timeout=200)
        # Then every row ends, and the books hold
        assert running.returncode in (0, 3), errors[-3000:]
        statuses = check_rows(place)
        assert statuses["answered"] > 0.8 * ROWS
        watching.check(at_least=10)
        calls = journal(place)
        check_meter(place, upstream, calls)
        # And each call is charged by what can be known of it
        kinds = {str(line.key): line.outcome for line in upstream.meter_lines()}
        assert set(kinds.values()) >= {*UNKNOWN, *COMPLETE}
        for call_id, call in calls.items():
            kind = kinds.get(call_id)
            if kind in COMPLETE:
                assert (call.outcome, call.presumed) == (COMPLETE[kind], False)
            elif call.outcome in UNBILLED:
                assert (kind, call.cost, call.presumed) == (None, 0, False)
            else:
                assert kind in (None, *UNKNOWN)
                assert (call.outcome, call.presumed, call.cost) == ("presumed", True, call.held)
        assert place.money(JOB).presumed == sum(call.cost for call in calls.values() if call.presumed) > 0
        assert any(call.outcome == "rate_limited" for call in calls.values())


def test_a_bill_over_its_bound_halts_the_job(place: Tierwise) -> None:
    # Given a provider that once bills far over what the request allowed
    with textclass(DATASET, latency_ms=5) as upstream:
        upstream.control(script=[*["ok"] * 60, "overbill"])
        spec = env_claims(place, upstream, batch=100, slots=2)
        # When the job runs, then it halts with a code of its own
        place.run("run", spec, "--job", JOB, code=4)
        # And the bill is recorded in full, what was not asked is deferred
        calls = journal(place)
        check_meter(place, upstream, calls)
        [over] = [call for call in calls.values() if call.cost > call.held]
        assert {str(line.key): line.nano for line in upstream.meter_lines()}[over.call_id] == over.cost
        assert upstream.meter_total_nano() == place.money(JOB).spent
        statuses = check_rows(place)
        assert set(statuses) == {"answered", "deferred"}
        assert upstream.stats().served < 90
        reasons = place.rows("SELECT DISTINCT reason FROM results WHERE status = 'deferred'")
        assert reasons == [{"reason": "over_hold"}]
        assert place.rows("SELECT stop FROM jobs") == [{"stop": "over_hold"}]
        # When it is resumed, then the rest is answered, and nothing is paid again
        place.run("resume", JOB)
        assert check_rows(place) == {"answered": ROWS}
        check_meter(place, upstream, {**calls, **journal(place, generation=2)})
        assert upstream.meter_total_nano() == place.money(JOB).spent
