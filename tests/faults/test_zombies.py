"""A worker paused past its lease, overtaken, and woken again: nothing is lost, neither rows nor money."""

from pathlib import Path

import pytest

from schemas.ids import JobId
from tests.faults.herd import brokered, check_rows, herd, journal, resume, stopped, wait_for, watch
from tests.faults.judge import bills, paid_twice
from tests.faults.reports import reports, upstream_of
from tests.faults.worker import Point, Strike
from tests.upstream.client import start_upstream

JOB, QUERIES, BATCH = JobId("zombie"), 120, 12


@pytest.mark.parametrize("point", ["after hold", "after send", "after response"])
def test_a_zombie_with_calls_in_flight(point: Point, tmp_path: Path) -> None:
    # Given a worker that is stopped there with calls in flight
    with (
        start_upstream(upstream_of(latency_ms=150)) as upstream,
        brokered(tmp_path, LEASE_SECONDS="2") as place,
        herd(place, 0) as workers,
        watch(upstream, place, JOB) as watching,
    ):
        workers.meter, workers.threads = upstream.meter_path, 2
        place.run("submit", reports(place, upstream, JOB, QUERIES, batch=BATCH, slots=2), "--job", JOB)
        zombie = workers.start(strike=Strike(point=point, nth=7, stop=True))
        wait_for(lambda: stopped(zombie), f"it is stopped {point}")
        asleep = workers.unsettled()
        unsent = asleep - {entry.call_id for entry in workers.books() if entry.event == "sent"}
        assert asleep
        # When others take its batches over, which charges what it held in full, and it wakes
        workers.start()
        wait_for(lambda: all(journal(place, job=JOB)[call].presumed for call in asleep), "it is overtaken")
        resume(zombie)
        wait_for(lambda: not asleep & workers.unsettled(), "its calls are settled")
        place.wait_closed(JOB)
        # Then each query is answered once, and every bill is recorded, at its true cost
        assert check_rows(place, QUERIES, JOB) == {"answered": QUERIES}
        watching.check()
        calls = journal(place, job=JOB)
        sent = {str(line.key): line.nano for line in upstream.meter_lines()}
        assert bills(sent, calls) == []
        account = place.money(JOB)
        assert account.presumed == 0
        assert account.spent == upstream.meter_total_nano()
        # And what it had not sent when it was stopped, it never sent
        assert point != "after hold" or unsent
        assert not unsent & set(sent)
        assert paid_twice(workers.books(), calls, sent, workers.ended)[0] == []


def test_a_zombie_that_tries_to_commit(tmp_path: Path) -> None:
    # Given a worker that is stopped with its parts written, just before the commit point
    with (
        start_upstream(upstream_of()) as upstream,
        brokered(tmp_path, LEASE_SECONDS="2") as place,
        herd(place, 0) as workers,
    ):
        workers.threads = 1
        place.run("submit", reports(place, upstream, JOB, QUERIES, batch=BATCH, slots=8), "--job", JOB)
        zombie = workers.start(strike=Strike(point="before commit", nth=3, stop=True))
        wait_for(lambda: stopped(zombie), "it is stopped")
        # When another commits that batch, and the job is closed, and the zombie wakes
        workers.start()
        account = place.wait_closed(JOB)
        rows = place.rows("SELECT * FROM results ORDER BY query_id")
        commits = workers.said(": committed")
        resume(zombie)
        wait_for(lambda: workers.said(": committed") > commits, "it has had its try")
        # Then nothing was asked again, and no row has changed
        assert check_rows(place, QUERIES, JOB) == {"answered": QUERIES}
        assert place.rows("SELECT * FROM results ORDER BY query_id") == rows
        assert place.money(JOB) == account
        assert upstream.meter_total_nano() == account.spent
        assert len(journal(place, job=JOB)) == len(upstream.meter_lines())
