"""A tier that is down, with four worker processes: what is risked on it, and what becomes of the queries."""

import time
from pathlib import Path

import yaml

from pipeline.ports.ledger import Ledger, Pacing
from pipeline.wiring.services import now_ms
from tests.end_to_end.command import Tierwise
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
    journal,
    wait_for,
    watch,
)
from tests.jobs import LADDER
from tests.upstream.client import Upstream

WORKERS, FIRST, PROBES = 4, 5, 10  # processes; calls of each before it knows; of all, at doubling distances


def test_a_tier_that_fails_everybody_costs_a_few_calls_not_a_thousand(tmp_path: Path) -> None:
    # Given a provider whose every answer is a billed 500
    with (
        brokered(tmp_path) as place,
        textclass(DATASET, shares={"server_error": 1.0}, bill_500=True) as upstream,
    ):
        spec = env_claims(place, upstream, batch=30, slots=32, retries=4, patience_s=5)
        place.run("submit", spec, "--job", JOB)
        # When four workers run a job on it
        with watch(upstream, place) as watching, herd(place, WORKERS):
            place.wait_closed(JOB)
        # Then every row is deferred and says why, and little was presumed
        assert check_rows(place) == {"deferred": ROWS}
        [reason] = place.rows("SELECT DISTINCT split_part(reason, ':', 1) AS said FROM results")
        assert reason["said"] == "tier nano is unavailable"
        calls = journal(place)
        presumed = [call for call in calls.values() if call.presumed]
        assert 0 < len(presumed) <= WORKERS * FIRST + PROBES
        assert {call.tier for call in presumed} == {"nano"}
        check_meter(place, upstream, calls)
        assert watching.samples
        assert (
            watching.broken() == []
        )  # its calls are over in milliseconds: a sample may well meet none of them
        # And the job goes on where it stood once the provider is well
        upstream.control(shares={})
        wait_for(lambda: may_look(place, upstream), "a time to look again", timeout=90)
        place.run("resume", JOB)
        with herd(place, WORKERS):
            place.wait_closed(JOB)
        assert check_rows(place) == {"answered": ROWS}


def test_the_others_go_on_where_the_spec_allows(tmp_path: Path) -> None:
    # Given a first tier that nobody listens at, and a spec that says to skip it
    with brokered(tmp_path) as place, textclass(DATASET) as upstream:
        path = Path(env_claims(place, upstream, batch=30, slots=32))
        spec = yaml.safe_load(path.read_text("utf-8"))
        spec["tiers"][0] |= {"base_url": "http://127.0.0.1:9/v1", "when_down": "skip"}
        path.write_text(yaml.safe_dump(spec), "utf-8")
        place.run("submit", str(path), "--job", JOB)
        # When four workers run it, then the tiers above answer everything
        with herd(place, WORKERS):
            place.wait_closed(JOB)
        assert check_rows(place) == {"answered": ROWS}
        calls = journal(place).values()
        assert sum(call.tier == "nano" for call in calls) < ROWS / 2
        assert not any(call.presumed for call in calls)


def test_a_bad_key_is_said_once(tmp_path: Path) -> None:
    with brokered(tmp_path) as place, textclass(DATASET, api_key="right") as upstream:
        place.run("submit", env_claims(place, upstream, batch=30, slots=32), "--job", JOB)
        with herd(place, WORKERS):
            place.wait_closed(JOB)
        assert check_rows(place) == {"deferred": ROWS}
        assert len(journal(place)) <= WORKERS * FIRST
        reasons = place.rows(
            "SELECT count(*) AS rows FROM results WHERE reason LIKE '%HTTP 401: its key or%'"
        )
        assert reasons[0]["rows"] >= ROWS - WORKERS * FIRST


def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    # Given a job in the middle of which the provider goes away
    with brokered(tmp_path) as place, textclass(DATASET, latency_ms=50, rate_limit_rps=60) as upstream:
        place.run("submit", env_claims(place, upstream, batch=30, slots=8), "--job", JOB)
        with watch(upstream, place) as watching, herd(place, WORKERS):
            wait_for(lambda: upstream.stats().metered > ROWS // 4, "a quarter of the job")
            upstream.control(down=True)
            time.sleep(3)
            assert place_state(place) != "closed"
            upstream.control(down=False)
            place.wait_closed(JOB)
        # Then all rows are answered in the end
        assert check_rows(place) == {"answered": ROWS}
        check_meter(place, upstream, journal(place))
        watching.check()


def test_a_stated_limit_is_kept_by_all_workers_together(tmp_path: Path) -> None:
    # Given a provider with one hard limit for all its models, and a spec that states a third of it for each tier
    with brokered(tmp_path) as place, textclass(DATASET, rate_limit_rps=60, burst=15) as upstream:
        limits = {"requests_per_minute": 1200}
        place.run("submit", env_claims(place, upstream, batch=30, slots=32, limits=limits), "--job", JOB)
        # When four workers run a job
        with herd(place, WORKERS):
            place.wait_closed(JOB)
        # Then hardly anybody was refused
        assert check_rows(place) == {"answered": ROWS}
        replies = upstream.stats().by_status
        assert replies.get("429", 0) <= 0.05 * sum(replies.values())


def may_look(place: Tierwise, upstream: Upstream) -> bool:
    """Whether somebody may see if the first tier is up again."""

    async def read(ledger: Ledger) -> Pacing | None:
        return await ledger.pacing(f"openai {LADDER['nano']} {upstream.url}")

    row = place._ask(read)
    assert row is not None
    return now_ms() > row.probe_at


def place_state(place: Tierwise) -> str:
    return str(place.json("status", JOB)["state"])
