"""kill -9, redelivery and lost messages, with real brokers, PostgreSQL and worker processes."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end.conftest import textclass
from tests.faults.herd import (
    DATASET,
    JOB,
    ROWS,
    brokered,
    check_meter,
    check_rows,
    env_claims,
    herd,
    in_flight,
    journal,
    publish,
    purge,
    wait_for,
    watch,
)

BATCHES = 9  # of 30 queries


@pytest.mark.parametrize("broker", ["RabbitMQ", "Redis"])
def test_workers_killed_in_the_middle(broker: str, tmp_path: Path) -> None:
    # Given three workers; with Redis, messages that are delivered again while their batch still runs
    settings = {"LEASE_SECONDS": "2", "VISIBILITY_SECONDS": "1"}
    with (
        textclass(DATASET, latency_ms=100) as upstream,
        brokered(tmp_path, broker, **settings) as place,
        herd(place, 3) as workers,
        watch(upstream, place) as watching,
    ):
        place.run("submit", env_claims(place, upstream, batch=30, slots=2), "--job", JOB)
        # When three are killed, one after the other, and others take their place
        flying = 0
        for served in (40, 120, 200):
            wait_for(lambda served=served: upstream.stats().served > served, f"{served} requests")  # type: ignore[misc]
            workers.kill()
            time.sleep(0.1)  # what the dead one had sent to the ledger is decided
            flying += in_flight(place)
            workers.start()
        account = place.wait_closed(JOB)
        # Then every query is answered once, and the books hold at every moment and in the end
        assert check_rows(place) == {"answered": ROWS}
        watching.check()
        calls = journal(place)
        check_meter(place, upstream, calls)
        # And only what was in flight at a kill may have been paid twice
        presumed = [call for call in calls.values() if call.presumed]
        assert 0 < len(presumed) <= flying
        assert account.presumed == sum(call.cost for call in presumed)
        redelivered = workers.said(": leased")
        assert redelivered > (3 if broker == "Redis" else 0)


def test_redelivered_messages_cost_nothing(tmp_path: Path) -> None:
    # Given a job whose messages each come three times in a row, and again in its middle
    with (
        textclass(DATASET, latency_ms=20) as upstream,
        brokered(tmp_path, LEASE_SECONDS="3") as place,
        ExitStack() as stack,
    ):
        place.run("submit", env_claims(place, upstream, batch=30, slots=4), "--job", JOB)
        purge(place)
        publish(place, sorted(3 * list(range(BATCHES))))
        workers = stack.enter_context(herd(place, 2))
        wait_for(lambda: upstream.stats().served > 100, "the middle")
        publish(place, range(BATCHES))
        account = place.wait_closed(JOB)
        # Then every request was sent once
        assert check_rows(place) == {"answered": ROWS}
        calls = journal(place)
        check_meter(place, upstream, calls)
        assert workers.said(": leased") > 0
        assert account.presumed == 0
        assert upstream.meter_total_nano() == account.spent
        before = place.rows("SELECT * FROM results ORDER BY query_id")
        # And when they come once more after it was closed, nothing is asked and no row changes
        known = workers.said(": closed")
        publish(place, range(BATCHES))
        wait_for(lambda: workers.said(": closed") >= known + BATCHES, "the messages are taken")
        assert len(upstream.meter_lines()) == len(calls)
        assert upstream.stats().served == len(calls)
        assert place.rows("SELECT * FROM results ORDER BY query_id") == before
        assert place.money(JOB) == account


def test_lost_messages_are_published_again(tmp_path: Path) -> None:
    # Given a job all of whose messages were lost
    with (
        textclass(DATASET) as upstream,
        brokered(tmp_path, LEASE_SECONDS="0.3") as place,
    ):
        place.run("submit", env_claims(place, upstream, batch=100, slots=32), "--job", JOB)
        assert purge(place) == 3
        # When a worker runs, then it finds them in the ledger
        with herd(place, 1) as workers:
            place.wait_closed(JOB)
            assert check_rows(place) == {"answered": ROWS}
            check_meter(place, upstream, journal(place))
            assert workers.said(f"publishing again: 3 batches of {JOB}") >= 1
