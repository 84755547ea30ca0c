"""A full disk, under the lake or under the ledger: the command fails aloud, loses nothing, and goes on."""

from pathlib import Path

import pytest

from schemas.ids import JobId
from tests.end_to_end.command import Tierwise
from tests.faults.disk import fill, free, small_disk
from tests.faults.herd import check_meter, check_rows, journal, wait_for, watch
from tests.faults.reports import reports, upstream_of
from tests.upstream.client import start_upstream

JOB, QUERIES, BATCH, MIB = JobId("disk"), 400, 20, 48


@pytest.mark.parametrize("under", ["lake", "ledger"])
def test_a_full_disk(under: str, tmp_path: Path) -> None:
    # Given a job that runs on SQLite and a local lake, one of them on a small disk
    with (
        small_disk(MIB) as disk,
        start_upstream(upstream_of(latency_ms=100)) as upstream,
    ):
        place = Tierwise(
            folder=tmp_path,
            settings={
                "TIERWISE_LAKE": str((disk if under == "lake" else tmp_path) / "lake"),
                "TIERWISE_LEDGER": f"sqlite:///{disk if under == 'ledger' else tmp_path}/ledger.db",
            },
        )
        with watch(upstream, place, JOB) as watching:
            spec = reports(place, upstream, JOB, QUERIES, batch=BATCH, slots=16)
            running = place.start("run", spec, "--job", JOB)
            wait_for(lambda: upstream.stats().served > QUERIES / 2, "the middle")
            # When the disk is full until the command gives up
            fill(disk)
            _, errors = running.communicate(timeout=120)
            # Then it says what is wrong
            assert running.returncode == 5, errors
            assert "No space left" in errors or "is full" in errors
            # And when there is room again, it goes on: nothing was lost, nothing settled is paid twice
            free(disk)
            place.run("resume", JOB)
        assert check_rows(place, QUERIES, JOB) == {"answered": QUERIES}
        assert watching.broken() == []
        check_meter(place, upstream, journal(place, job=JOB), JOB)
