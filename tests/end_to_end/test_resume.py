"""Killed, capped, cancelled, resumed twice: one row a query, and the meter never above the ledger."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.data import data_file
from tests.end_to_end.command import Tierwise, kill_when
from tests.end_to_end.conftest import textclass, write_spec
from tests.jobs import ladder_spec, recorded
from tests.upstream.client import Upstream

ROWS = 265
SLOTS = 2  # slow enough to be killed or cancelled in its middle


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with textclass("env_claims_en", latency_ms=60) as running:
        yield running


def env_claims(place: Tierwise, upstream: Upstream, usd: str = "20", **more: Any) -> str:
    source = recorded(data_file("outcomes_textclass_en.parquet"), "textclass/env_claims_en", place.folder)
    spec = ladder_spec(source, upstream.url, name="env", usd=usd, **more)
    for tier in spec["tiers"]:
        tier["max_concurrency"] = SLOTS
    return write_spec(place, spec)


def check_rows(place: Tierwise, generation: int) -> dict[str, int]:
    """One row a query, all under one generation; money the same by call, by query and by job."""
    found = place.rows("SELECT query_id, status, generation, cost_usd FROM results")
    assert len(found) == ROWS
    assert len({row["query_id"] for row in found}) == ROWS
    assert {row["generation"] for row in found} == {generation}
    sums = place.rows(
        "SELECT (SELECT sum(cost_usd) FROM calls) AS calls, (SELECT sum(cost_usd) FROM results) AS results, "
        "(SELECT spent_usd FROM jobs) AS job, (SELECT count(*) FROM documents) AS documents"
    )[0]
    assert sums["calls"] == sums["results"] == sums["job"]
    assert sums["documents"] == ROWS
    statuses = [row["status"] for row in found]
    return {status: statuses.count(status) for status in set(statuses)}


def test_resume_after_kill_pays_again_only_for_what_was_in_flight(
    place: Tierwise, upstream: Upstream
) -> None:
    # Given a run that is killed with kill -9 in its middle
    spec = env_claims(place, upstream)
    running = place.start("run", spec, "--job", "env")
    kill_when(running, lambda: upstream.stats().served > 150)
    metered_at_kill = upstream.stats().metered
    # When it is resumed
    place.run("resume", "env")
    # Then every query is answered once
    assert check_rows(place, generation=1) == {"answered": ROWS}
    # And no reply that was journalled was asked for again: only calls in flight may be, at most the slots'
    account = place.money("env")
    assert account.held == 0
    assert upstream.meter_total_nano() <= account.spent
    presumed = place.rows("SELECT count(*) AS n FROM calls WHERE presumed")[0]["n"]
    assert presumed <= 3 * 2 * SLOTS
    distinct = place.rows("SELECT count(DISTINCT request_hash) AS n FROM calls WHERE NOT presumed")[0]["n"]
    assert upstream.stats().metered - distinct <= presumed
    assert metered_at_kill > 0


def test_two_kills_and_two_resumes(place: Tierwise, upstream: Upstream) -> None:
    spec = env_claims(place, upstream)
    running = place.start("run", spec, "--job", "env")
    kill_when(running, lambda: upstream.stats().served > 80)
    served = upstream.stats().served
    again = place.start("resume", "env")
    kill_when(again, lambda: upstream.stats().served > served + 80)
    place.run("resume", "env")
    assert check_rows(place, generation=1) == {"answered": ROWS}
    assert upstream.meter_total_nano() <= place.money("env").spent
    # And once more changes nothing
    before = place.rows("SELECT * FROM results ORDER BY query_id")
    place.run("resume", "env")
    assert place.rows("SELECT * FROM results ORDER BY query_id") == before


def test_a_cap_that_is_reached_defers_and_resume_buys_only_the_rest(
    place: Tierwise, upstream: Upstream
) -> None:
    # Given a budget that is too small
    spec = env_claims(place, upstream, usd="0.008")
    # When the job runs
    place.run("run", spec, "--job", "env", code=3)
    # Then it stops below its cap, and what could not be paid is deferred
    assert upstream.meter_total_nano() == place.money("env").spent <= 8_000_000
    ended = check_rows(place, generation=1)
    assert ended["deferred"] > 0
    answered = {row["query_id"]: row for row in place.rows("SELECT * FROM results WHERE status = 'answered'")}
    # When money is added
    served = upstream.stats().served
    place.run("resume", "env", "--add-budget", "1")
    # Then only what was open is asked: answered rows stay, calls already paid for are not bought again
    assert check_rows(place, generation=2) == {"answered": ROWS}
    asked_in = place.rows("SELECT query_id, asked_in, answer, tier FROM results")
    for row in asked_in:
        if row["query_id"] in answered:
            assert (row["asked_in"], row["answer"]) == (1, answered[row["query_id"]]["answer"])
    once = place.rows(
        "SELECT count(*) AS calls, count(DISTINCT request_hash) AS requests FROM calls WHERE outcome = 'ok'"
    )
    assert once[0]["calls"] == once[0]["requests"] == upstream.stats().served
    assert upstream.stats().served > served
    assert upstream.meter_total_nano() == place.money("env").spent
    # And resuming once more leaves everything as it is
    place.run("resume", "env")
    assert check_rows(place, generation=2) == {"answered": ROWS}


def test_cancel_keeps_what_is_answered_and_resume_goes_on(place: Tierwise, upstream: Upstream) -> None:
    # Given a job that is cancelled while it runs
    spec = env_claims(place, upstream)
    running = place.start("run", spec, "--job", "env")
    end = time.monotonic() + 60
    while upstream.stats().served < 100 and time.monotonic() < end:
        time.sleep(0.01)
    upstream.control(latency_ms=2000)  # so that it is not done before the word to cancel reaches it
    place.run("cancel", "env")
    running.communicate(timeout=60)
    upstream.control(latency_ms=0)
    # Then its open queries are cancelled, the others stay answered
    ended = check_rows(place, generation=1)
    assert ended["cancelled"] > 0
    assert upstream.meter_total_nano() == place.money("env").spent
    # When it is resumed
    place.run("resume", "env")
    # Then all are answered, and nothing was paid twice
    assert check_rows(place, generation=2) == {"answered": ROWS}
    requests = place.rows("SELECT count(DISTINCT request_hash) AS n FROM calls WHERE outcome = 'ok'")[0]["n"]
    assert requests == upstream.stats().served


def test_cancel_of_a_killed_job_closes_it(place: Tierwise, upstream: Upstream) -> None:
    spec = env_claims(place, upstream)
    running = place.start("run", spec, "--job", "env")
    kill_when(running, lambda: upstream.stats().served > 50)
    place.run("cancel", "env")
    assert set(check_rows(place, generation=1)) <= {"cancelled", "answered"}
    assert place.wait_closed("env").held == 0
