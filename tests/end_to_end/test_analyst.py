"""An analyst with DuckDB and without Tierwise: on a finished lake, and with its database open while a job runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import textclass, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import ladder_spec, recorded
from tests.upstream.client import Upstream

ROWS = 90
TREE = {
    "categories": [
        {"name": "carbon", "rules": [{"keywords": ["carbon", "emissions", "co2", "climate"]}]},
    ]
}

# Reads {"sql": …} line by line and answers each with its rows: an analyst at a prompt.
ANALYST = """
import json, sys
import duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read-only")
print(json.dumps("open"), flush=True)
for line in sys.stdin:
    answer = connection.execute(json.loads(line))
    names = [column[0] for column in answer.description]
    rows = [dict(zip(names, row)) for row in answer.fetchall()]
    print(json.dumps(rows, default=str), flush=True)
assert not any(name.split(".")[0] in ("pipeline", "jobs", "schemas", "workers") for name in sys.modules)
"""


class Analyst:
    """A process of its own, elsewhere, that holds the lake's database open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, sql: str) -> list[dict[str, Any]]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(sql) + "\n")
        self._process.stdin.flush()
        return list(self.hear())

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.stderr and self._process.stderr.read()
        return json.loads(line)


@contextmanager
def analyst(lake: Path, elsewhere: Path, mode: str = "read-only") -> Iterator[Analyst]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TIERWISE_LAKE")}
    with subprocess.Popen(
        [sys.executable, "-I", "-c", ANALYST, str(lake / "tierwise.duckdb"), mode],
        cwd=elsewhere, env=kept, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        person = Analyst(process)
        try:
            assert person.hear() == "open"
            yield person
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with textclass("env_claims_en") as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Tierwise:
    """A lake with the finished job `first`, and the spec of more."""
    place = Tierwise(
        folder=tmp_path_factory.mktemp("analyst"),
        settings={"TIERWISE_LEASE_SECONDS": "3"},  # a killed worker's batch is soon free
    )
    source = recorded(data_file("outcomes_textclass_en.parquet"), "textclass/env_claims_en", place.folder)
    spec = ladder_spec(source, upstream.url, name="env", taxonomy=TREE)
    spec["input"]["batch"] = {"rows": 15}
    tierwise(place, "run", write_spec(place, spec), "--job", "first", "--limit", str(ROWS))
    return place


def test_the_questions_of_the_readme_need_no_tierwise(
    place: Tierwise, upstream: Upstream, tmp_path: Path
) -> None:
    job = tierwise(place, "report", "first", "--json").json()
    with analyst(place.folder / "lake", tmp_path) as person:
        # What did each tier cost?
        cost = person.ask("SELECT tier, cost_usd, calls FROM cost_by_tier WHERE job = 'first'")
        assert {row["tier"]: Decimal(row["cost_usd"]) for row in cost} == {
            tier["tier"]: Decimal(tier["cost_usd"]) for tier in job["tiers"]
        }
        assert sum(Decimal(row["cost_usd"]) for row in cost) == Decimal(job["cost_usd"])
        assert Decimal(job["cost_usd"]) * 10**9 == upstream.meter_total_nano()
        # How accurate is each category?
        accuracy = person.ask(
            "SELECT r.category, avg((r.answer = d.gold)::INT) AS accuracy, count(*) AS queries "
            "FROM results r JOIN documents d USING (job, query_id) WHERE job = 'first' GROUP BY ALL ORDER BY 1"
        )
        assert [row["category"] for row in accuracy] == ["", "carbon"]
        assert sum(row["queries"] for row in accuracy) == ROWS
        right = sum(row["accuracy"] * row["queries"] for row in accuracy)
        assert round(right) == job["correct"] > 0.7 * ROWS
        # Which queries were the dearest?
        dearest = person.ask("FROM dearest_queries WHERE job = 'first' LIMIT 10")
        assert [row["query_id"] for row in dearest[:3]] == [row["query_id"] for row in job["dearest"][:3]]
        assert len(dearest) == 10
        assert all(len(row["tiers_asked"]) == 3 for row in dearest[:3])
        # Which escalated, and why?
        escalated = person.ask("FROM escalations WHERE job = 'first' AND len(tiers) = 3")
        assert len(escalated) == sum(tier["asked"] for tier in job["tiers"] if tier["tier"] == "large") > 0
        for row in escalated:
            assert row["tiers"] == ["nano", "mini", "large"]
            assert row["reasons"][0] == "confidence 0.60 below 0.90"
            assert row["reasons"][2] == "last tier of the plan"


@pytest.mark.parametrize("mode", ["read-only", "read-write"])
def test_a_run_goes_on_while_an_analyst_has_the_database_open(
    place: Tierwise, upstream: Upstream, tmp_path: Path, mode: str
) -> None:
    # Given an analyst who keeps the database open
    upstream.control(latency_ms=150)
    with analyst(place.folder / "lake", tmp_path, mode) as person:
        count = f"SELECT count(*) AS n FROM {{}} WHERE job = '{mode}'"
        # When a job runs and closes meanwhile
        running = place.start("run", "env.yaml", "--job", mode, "--limit", str(ROWS))
        live = 0
        while running.poll() is None and live == 0:
            live = person.ask(count.format("results_live"))[0]["n"]
            # Then its rows are live ones first …
            assert live == 0 or person.ask(count.format("results"))[0]["n"] in (0, ROWS)
            time.sleep(0.05)
        _, errors = running.communicate(timeout=120)
        upstream.control(latency_ms=0)
        assert running.returncode == 0, errors
        assert 0 < live <= ROWS
        # … and then final ones, never both, on the connection that was open all the time
        assert person.ask(count.format("results_live"))[0]["n"] == 0
        assert person.ask(count.format("results"))[0]["n"] == ROWS
        assert person.ask(f"SELECT answered FROM jobs WHERE job = '{mode}'") == [{"answered": ROWS}]
        # And an analyst may keep a view of their own in a database they opened for writing
        if mode == "read-write":
            person.ask("CREATE OR REPLACE VIEW mine AS FROM results WHERE tier = 'large'")
            assert person.ask("SELECT count(*) > 0 AS some FROM mine") == [{"some": True}]
    assert (place.folder / "lake" / "tierwise.duckdb").exists()


def test_rows_are_live_before_the_close_and_final_after_it(place: Tierwise, upstream: Upstream) -> None:
    # Given a job that is stopped in its middle
    upstream.control(latency_ms=300)
    running = place.start("run", "env.yaml", "--job", "halved")
    while not place.rows("SELECT 1 FROM results_live WHERE job = 'halved' LIMIT 1"):
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.communicate()
    upstream.control(latency_ms=0)
    # Then the live view holds the whole batches that are committed, the final one nothing
    live = place.rows("SELECT query_id, answer FROM results_live WHERE job = 'halved' ORDER BY query_id")
    assert 0 < len(live) < 265
    assert len(live) % 15 == 0 or len(live) % 15 == 265 % 15
    assert place.rows("SELECT * FROM results WHERE job = 'halved'") == []
    # When it is resumed and closes
    tierwise(place, "resume", "halved")
    # Then it is the other way round, with the same answers
    assert place.rows("SELECT * FROM results_live WHERE job = 'halved'") == []
    final = place.rows("SELECT query_id, answer FROM results WHERE job = 'halved' ORDER BY query_id")
    assert len(final) == 265
    assert [row for row in final if row in live] == live
