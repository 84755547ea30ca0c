"""A job with a quality target ends with its certificate, or with a clear no after pilot and audit."""

import csv
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise, kill_when, workers
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers
from tests.services import RABBITMQ, broker_queue, postgresql_schema
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig
from tests.upstream.rule import EchoLabel

pytestmark = pytest.mark.usefixtures("one_draw")
LABELS = ("billing", "outage", "other")
PRICES = {
    "small": {"input": "0.1", "output": "0.4"},
    "middle": {"input": "1", "output": "4"},
    "large": {"input": "5", "output": "20"},
    "huge": {"input": "50", "output": "200"},
}
ACCURACY = {"small": 0.85, "middle": 0.93, "large": 0.99, "huge": 1.0}
ROWS, PILOT, AUDIT = 500, 80, 200


def upstream(**behaviour: Any) -> Any:
    config = UpstreamConfig(rule="echo-label", labels=LABELS, accuracy=ACCURACY, prices=PRICES, **behaviour)
    return start_upstream(config)


def spec_of(place: Tierwise, served: Upstream, name: str, rows: int = ROWS, **quality: Any) -> dict[str, Any]:
    source = place.folder / f"{name}.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "gold"])
        for number in range(rows):
            gold = LABELS[number % 3]
            table.writerow([f"q{number}", f"[gold={gold}] {name} message number {number}", gold])
    tiers = model_tiers(served.url, PRICES, tuple(PRICES), structured="none")
    return {
        "version": 1,
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": list(LABELS)},
        "input": {"path": str(source), "id": "id", "gold": "gold", "batch": {"rows": 100}},
        "tiers": tiers,
        "budget": {"usd": "5"},
        "quality": {"target": 0.93, "reference": "large", "pilot": PILOT, "audit": AUDIT, **quality},
    }


def run(place: Tierwise, spec: dict[str, Any], code: int = 0) -> dict[str, Any]:
    said: dict[str, Any] = tierwise(
        place, "run", write_spec(place, spec), "--job", spec["name"], "--json", code=code
    ).json()
    return said


def paid_calls(place: Tierwise, purpose: str) -> int:
    [row] = place.rows(f"SELECT count(*) AS n FROM calls WHERE purpose = '{purpose}' AND cost_usd > 0")
    return int(row["n"])


@pytest.mark.timeout(120)
def test_without_a_target_the_audit_measures_and_judges_what_is_learned(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a job on a policy that learns, whose answers are to be held against gold
        spec = spec_of(place, served, "night")
        spec |= {"policy": "thompson", "quality": {"audit": AUDIT}}
        # When it is run
        said = tierwise(place, "run", write_spec(place, spec), "--job", "night")
        # Then it promises nothing and says how many answers agree, with an interval that holds
        assert "Measured: " in said.out
        [row] = place.rows("FROM certificates")
        assert (row["certified"], row["target"], row["off_plan"]) == (False, None, None)
        [right] = place.rows(
            "SELECT avg((answer = gold)::INT) AS share FROM results JOIN documents USING (query_id)"
        )
        assert row["accuracy_low"] - 0.03 < right["share"] < row["accuracy_high"] + 0.03
        assert row["accuracy_high"] - row["accuracy_low"] < 0.1
        # And every tier of the ladder was asked of the drawn rows, which judge the version that was learned
        assert paid_calls(place, "audit") == 4 * AUDIT
        [audited] = place.rows(
            "SELECT count(DISTINCT query_id) AS n, count(DISTINCT tier) AS tiers FROM rewards WHERE audited"
        )
        assert audited == {"n": AUDIT, "tiers": 4}
        [policy] = tierwise(place, "policy", "show", "--json").json()
        assert policy["versions"] >= 1
        assert served.meter_total_nano() == place.money("night").spent


def bills(place: Tierwise, job: str) -> list[Decimal]:
    """What the job came to, by call; and by query, with the certificate."""
    [row] = place.rows(
        f"SELECT (SELECT sum(cost_usd) FROM calls WHERE job = '{job}') AS calls, "
        f"(SELECT sum(cost_usd) FROM results WHERE job = '{job}') "
        f"+ (SELECT audit_usd FROM certificates WHERE job = '{job}') AS queries"
    )
    return [row["calls"], row["queries"]]


@pytest.mark.timeout(120)
def test_a_job_ends_with_its_certificate(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a job that is to agree with its third tier
        spec = spec_of(place, served, "kept")
        # When it is run
        said = tierwise(place, "run", write_spec(place, spec), "--job", "kept")
        # Then what is promised is said, and stands in the lake with its evidence
        assert "Certified: at least 93% agreement with large (confidence 95%)" in said.out
        assert "Tier huge stands aside: it is above the reference, large" in said.err
        [row] = place.rows("FROM certificates")
        assert (row["certified"], row["reason"]) == (True, "")
        assert (row["population"], row["pilot"], row["audited"], row["off_plan"]) == (ROWS, PILOT, AUDIT, 0)
        assert row["agreeing"] / AUDIT > 0.93
        assert row["p_value"] <= 0.05
        assert row["graded"] == PILOT + AUDIT
        assert row["reference_accuracy"] > 0.95
        # And it holds: this many rows agree with what the reference says of them
        assert agreement(place) >= 0.93
        # And the report shows it
        report = tierwise(place, "report", "kept", "--json").json()
        assert report["certificate"]["plan"] == row["plan"]
        tierwise(place, "report", "kept", "-o", "page.html")
        assert "Certified ≥ 93.0% agreement with large" in (tmp_path / "page.html").read_text()
        assert tierwise(place, "status", "kept", "--json").json()["audit"]["kind"] == "planned"
        # And the drawn rows that disagree can be looked at
        wrong = tierwise(place, "query", "disagreements", "--job", "kept", "--limit", "999", "--json").json()
        differ = sum(each["answer"] != each["reference"] for each in wrong)
        assert AUDIT - row["agreeing"] <= len(wrong) == differ <= AUDIT - row["agreeing"] + PILOT
        # And every row ran under the plan of the certificate
        [version] = place.rows("SELECT DISTINCT policy_version FROM results")
        assert version["policy_version"] == json.loads(row["plan"])["version"]
        # And what the audit asked was paid for once
        asked = place.rows(
            "SELECT query_id, tier, count(*) AS n FROM calls WHERE cost_usd > 0 GROUP BY ALL HAVING n > 1"
        )
        assert asked == []
        assert paid_calls(place, "audit") == 3 * (PILOT + AUDIT)
        spent = place.money("kept").spent
        assert spent == served.meter_total_nano()
        assert bills(place, "kept") == [Decimal(spent).scaleb(-9)] * 2


def test_an_estimate_counts_pilot_and_audit(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a job that was certified
        spec = spec_of(place, served, "kept", target=0.9)
        path = write_spec(place, spec)
        before = tierwise(place, "estimate", path, "--json").json()
        run(place, spec)
        # Then its audit came to about what was said, and so did the whole
        [row] = place.rows("FROM certificates")
        assert [tier["tier"] for tier in before["tiers"]] == ["small", "middle", "large"]
        assert 0.5 < float(row["audit_usd"]) / float(before["audit_usd"]) < 2
        spent = place.money("kept").spent / 10**9
        assert 0.5 * float(before["low_usd"]) < spent < float(before["high_usd"])
        # And the next one's bill is forecast with its audit
        again = tierwise(place, "estimate", path, "--json").json()["forecast"]
        assert float(again["low_usd"]) <= spent <= float(again["high_usd"])
        assert float(again["high_usd"]) < 1.5 * spent


def test_what_was_audited_teaches_nothing_and_judges_what_is_learned(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a certified job
        run(place, spec_of(place, served, "kept", target=0.9))
        # When a policy learns from it
        learned = tierwise(place, "learn", "thompson", "--job", "kept", "--json").json()
        # Then every drawn row is an audited one, with the answers of all tiers it was asked of
        rows = place.rows(
            "SELECT audited, count(DISTINCT query_id) AS queries, count(*) AS answers FROM rewards "
            "GROUP BY audited ORDER BY audited"
        )
        assert [row["queries"] for row in rows] == [ROWS - PILOT - AUDIT, PILOT + AUDIT]
        assert rows[1]["answers"] == 3 * (PILOT + AUDIT)
        # And they judge the version that was fitted on the others
        assert learned["verdict"]["how"] == "audit"
        assert learned["verdict"]["queries"] == PILOT + AUDIT
        assert learned["rows"] <= rows[0]["answers"]


def agreement(place: Tierwise) -> float:
    """Of all rows, with answers that nobody paid for."""
    config = UpstreamConfig(rule="echo-label", labels=LABELS, accuracy=ACCURACY)
    large = EchoLabel(labels=LABELS, accuracy=ACCURACY, seed=config.seed)
    rows = place.rows("SELECT d.text, r.answer FROM results r JOIN documents d USING (job, query_id)")
    assert len(rows) == ROWS
    return sum(large.find("large", row["text"]).content == row["answer"] for row in rows) / ROWS


@pytest.mark.timeout(120)
def test_a_target_out_of_reach_is_refused_after_pilot_and_audit(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given tiers that are right in 93 % of cases at best
        spec = spec_of(place, served, "beyond", target=0.995, reference="gold")
        spec["tiers"] = spec["tiers"][:2]
        # When 99.5 % are asked for
        said = tierwise(place, "run", write_spec(place, spec), "--job", "beyond", code=7)
        # Then the answer is a no that says what can be had
        [row] = place.rows("FROM certificates")
        assert not row["certified"]
        assert "99.5% agreement with gold can not be certified" in row["reason"]
        assert row["reason"] in said.out
        assert 0.9 < row["sure"] < 0.99
        # And nothing was asked but pilot and audit
        assert paid_calls(place, "audit") == 2 * (PILOT + AUDIT)
        assert paid_calls(place, "answer") == 0
        assert served.meter_total_nano() == place.money("beyond").spent == int(row["audit_usd"].scaleb(9))
        [ended] = place.rows("SELECT DISTINCT status, reason FROM results")
        assert ended == {"status": "cancelled", "reason": row["reason"]}
        assert place.rows("SELECT stop FROM jobs") == [{"stop": "infeasible"}]
        # And its report shows what the pilot and the audit found of each tier, though nothing was answered
        found = tierwise(place, "report", "beyond", "-o", "page.html", "--json").json()["frontier"]
        assert {point["kind"] for point in found["points"]} == {"tier", "plan"}
        assert "Not certified ≥" in (tmp_path / "page.html").read_text()
        # And resuming it, with whatever money, is refused
        tierwise(place, "resume", "beyond", "--add-budget", "5", code=7)
        assert place.money("beyond").cap == 5 * 10**9


@pytest.mark.timeout(120)
def test_money_that_ends_in_the_audit_goes_on_from_there(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a budget that does not reach for the audit
        spec = spec_of(place, served, "short", target=0.9)
        spec["budget"] = {"usd": "0.06"}
        # When the job is run
        said = run(place, spec, code=3)
        # Then no plan is frozen, and every row is deferred
        assert said["statuses"] == {"deferred": ROWS}
        assert "exhausted" in said["certificate"]["reason"]
        before = place.money("short").spent
        assert before <= 60_000_000
        # When there is more
        again = tierwise(place, "resume", "short", "--add-budget", "5", "--json").json()
        # Then the audit goes on, and the job ends with its certificate
        assert again["statuses"] == {"answered": ROWS}
        assert again["certificate"]["certified"]
        assert again["certificate"]["off_plan"] == 0
        # And no answer was bought twice
        twice = place.rows(
            "SELECT query_id, tier, count(*) AS n FROM calls WHERE cost_usd > 0 GROUP BY ALL HAVING n > 1"
        )
        assert twice == []
        spent = place.money("short").spent
        assert spent == served.meter_total_nano()
        assert bills(place, "short") == [Decimal(spent).scaleb(-9)] * 2
        assert paid_calls(place, "audit") == 3 * (PILOT + AUDIT)


@pytest.mark.timeout(120)
def test_an_audit_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream(latency_ms=20) as served:
        # Given a job that is killed with kill -9 in its audit
        spec = spec_of(place, served, "killed", target=0.9)
        for tier in spec["tiers"]:
            tier["max_concurrency"] = 8
        running = place.start("run", write_spec(place, spec), "--job", "killed")
        kill_when(running, lambda: served.stats().served > 200)
        # When it is resumed
        said = tierwise(place, "resume", "killed", "--json").json()
        # Then it ends with its certificate, every row answered once
        assert said["certificate"]["certified"]
        assert said["statuses"] == {"answered": ROWS}
        # And what was journalled was not asked again: at most the calls in flight were paid for in vain
        presumed = place.rows("SELECT count(*) AS n FROM calls WHERE presumed")[0]["n"]
        assert presumed <= 3 * 2 * 8
        distinct = place.rows(
            "SELECT count(DISTINCT request_hash) AS n FROM calls WHERE cost_usd > 0 AND NOT presumed"
        )
        assert served.stats().metered - distinct[0]["n"] <= presumed
        assert served.meter_total_nano() <= place.money("killed").spent
        assert place.money("killed").held == 0


@pytest.mark.timeout(180)
def test_workers_wait_for_the_audit(tmp_path: Path) -> None:
    with (
        postgresql_schema() as ledger,
        broker_queue("RabbitMQ", RABBITMQ) as queue,
        upstream(latency_ms=20) as served,
    ):
        settings = {
            "TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue,
            "TIERWISE_LEASE_SECONDS": "3",
        }  # fmt: skip
        place = Tierwise(folder=tmp_path, settings=settings)
        spec = spec_of(place, served, "kept", rows=240, target=0.85, pilot=50, audit=120)
        for tier in spec["tiers"]:
            tier["max_concurrency"] = 4
        with workers(place, 2) as running:
            # Given a job on a broker
            tierwise(place, "submit", write_spec(place, spec), "--job", "kept")
            # When a worker is killed in the midst of its audit
            deadline = time.monotonic() + 60
            while served.stats().served < 150:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            running[0].kill()
            spent = place.wait_closed("kept").spent
        # Then the other ends it with its certificate
        [row] = place.rows("FROM certificates")
        assert row["certified"], row["reason"]
        assert place.rows("SELECT status, count(*) AS n FROM results GROUP BY ALL") == [
            {"status": "answered", "n": 240}
        ]
        # And the meter knows of nothing that the ledger does not
        presumed = place.rows("SELECT coalesce(sum(cost_usd), 0) AS usd FROM calls WHERE presumed")[0]["usd"]
        assert 0 <= spent - served.meter_total_nano() <= int(presumed.scaleb(9))
