"""What an operator sees of real workers: metrics at their endpoint, every line of their log as JSON."""

import json
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from pipeline.monitoring.meters import METRICS
from tests.catalogue import catalogue
from tests.end_to_end.command import Tierwise, workers
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.flower import started_flower
from tests.end_to_end.inside import tierwise
from tests.end_to_end.listen import fetch, free_port, wait_for
from tests.end_to_end.otlp import Span, collector
from tests.faults.herd import brokered
from tests.jobs import write_documents
from tests.services import RABBITMQ, broker_queue
from tests.upstream.client import start_upstream
from tests.upstream.config import config_from

JOB, ROWS = "watched-job", 60
PRICES = {"small": {"input": "1", "output": "4"}, "large": {"input": "10", "output": "40"}}
SCRIPT = ("rate_limited", "cut_after", "truncated")  # what becomes of the first requests


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A job as two worker processes worked it, with what they said while they still stood."""

    place: Tierwise
    samples: list[Sample]
    types: dict[str, str]  # of each family
    lines: list[dict[str, Any]]  # of the log
    spans: list[Span]
    flower: dict[str, Any]  # what its HTTP API says: workers (name -> alive) and tasks by id

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that carry these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def spec_of(place: Tierwise, url: str) -> str:
    texts = [f"document {number} [gold={'yes' if number % 3 else 'no'}]" for number in range(ROWS)]
    tiers = [
        {
            "name": model, "provider": "openai", "model": f"{model}-1", "base_url": url, "api_key_env": None,
            "price": PRICES[model], "structured": "none", "accept": accept, "retries": 3, "timeout_s": 20,
        }
        for model, accept in (("small", 0.8), ("large", 0.0))
    ]  # fmt: skip
    spec = {
        "name": "watched",
        "task": {"kind": "classify", "labels": ["yes", "no"]},
        "input": {
            "path": str(write_documents(place.folder / "documents.parquet", texts)),
            "id": "id", "batch": {"rows": 20},
        },
        "tiers": tiers,
        "budget": {"usd": "1"},
        "history": "none",
    }  # fmt: skip
    return write_spec(place, spec)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder, port = tmp_path_factory.mktemp("monitoring"), free_port()
    upstream = {
        "rule": "echo-label", "labels": ("yes", "no"), "script": SCRIPT, "retry_after_s": 0.1,
        "accuracy": {f"{model}-1": 0.9 for model in PRICES},
        "prices": {f"{model}-1": price for model, price in PRICES.items()},
    }  # fmt: skip
    with (
        brokered(folder, LOG="json", TRACE_CALLS="1") as plain,
        start_upstream(config_from(upstream)) as served,
        collector() as (spans, url),
        started_flower(folder) as flower,
    ):
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "watched"}
        place = replace(plain, settings=plain.settings | otel)
        with workers(place, 1, "--processes", "2", "--metrics-port", str(port), "--events"):
            healthy = f"http://127.0.0.1:{port}/healthz"
            wait_for(lambda: fetch(healthy)[0] == 200 or None, "both processes are up")
            place.run("submit", spec_of(place, served.url), "--job", JOB)
            place.wait_closed(JOB)
            text = wait_for(lambda: _scrape(port), "all that was committed")
            shown = wait_for(lambda: _shown(flower), "the events of all tasks")
        families = list(text_string_to_metric_families(text))
        yield Seen(
            place=place,
            samples=[sample for family in families for sample in family.samples],
            types={family.name: family.type for family in families},
            spans=spans,
            flower=shown,
            lines=[json.loads(line) for line in (folder / "workers.log").read_text("utf-8").splitlines()],
        )


def _scrape(port: int) -> str | None:
    """The metrics, once each process has written down what it did last."""
    status, text = fetch(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    done = [
        line for line in text.splitlines() if line.startswith('tierwise_batches_total{outcome="committed"}')
    ]
    return text if done and float(done[0].split()[1]) == 3 else None


def _shown(flower: str) -> dict[str, Any] | None:
    """What Flower shows, once it has heard that each batch and the closing succeeded."""
    seen = {
        "workers": json.loads(fetch(f"{flower}/api/workers?status=1")[1]),
        "tasks": json.loads(fetch(f"{flower}/api/tasks")[1]),
    }
    done = [task for task in seen["tasks"].values() if ours(task) and task["state"] == "SUCCESS"]
    return seen if len({task["args"] for task in done}) == 4 else None


def ours(task: dict[str, Any]) -> bool:
    return str(task["args"]).startswith(f"{JOB}, ")


def test_each_call_is_counted_once_with_its_money(seen: Seen) -> None:
    # What the workers counted is what the tables hold, call by call
    rows = seen.place.rows(
        "SELECT tier, outcome, cost_usd, input_tokens + output_tokens AS tokens FROM calls"
    )
    calls = Counter((row["tier"], row["outcome"]) for row in rows)
    assert calls["small", "rate_limited"] == calls["small", "presumed"] == calls["small", "truncated"] == 1
    for (tier, outcome), count in calls.items():
        assert seen.value("tierwise_calls_total", tier=tier, outcome=outcome) == count
    assert seen.value("tierwise_spend_dollars_total") == pytest.approx(
        float(sum(row["cost_usd"] for row in rows))
    )
    assert seen.value("tierwise_tokens_total") == sum(row["tokens"] for row in rows)
    assert seen.value("tierwise_call_seconds_count", tier="small") == calls["small", "ok"] + 1
    # and the results, by how many tiers they asked
    asked = Counter(row["n"] for row in seen.place.rows("SELECT len(tiers_asked) AS n FROM results"))
    assert asked[2] > 0
    for count, queries in asked.items():
        assert seen.value("tierwise_results_total", tiers_asked=str(count)) == queries


def test_replies_are_counted_as_they_come(seen: Seen) -> None:
    def replies(kind: str) -> float:
        return seen.value("tierwise_replies_total", reply=kind)

    assert (replies("rate_limited"), replies("failed")) == (1, 1)
    assert replies("answered") == seen.value("tierwise_call_seconds_count")


def test_what_processes_are_doing(seen: Seen) -> None:
    for name in ("tierwise_process_up", "tierwise_event_loop_lag_seconds_count"):
        for process in "01":
            assert seen.value(name, process=process) > 0, name
    assert seen.value("tierwise_batches_running") == seen.value("tierwise_calls_in_flight") == 0
    assert seen.value("tierwise_batch_seconds_count") == seen.value(
        "tierwise_batches_total", outcome="committed"
    )
    assert seen.value("tierwise_concurrency_window", tier="small") >= 1
    assert seen.value("tierwise_ledger_group_operations_sum") >= 2 * seen.value("tierwise_calls_total")
    assert seen.value("tierwise_ledger_commit_seconds_count") > 0


def test_the_ledger_as_any_worker_shows_it(seen: Seen) -> None:
    account = seen.place.money(JOB)
    assert seen.value("tierwise_ledger_up") == 1
    assert seen.value("tierwise_account_spent_dollars", account=f"job/{JOB}") == pytest.approx(
        account.spent / 1e9
    )
    assert seen.value("tierwise_account_cap_dollars", account=f"job/{JOB}") == 1
    assert seen.value("tierwise_account_presumed_dollars", account=f"job/{JOB}") > 0
    assert seen.value("tierwise_jobs", state="closed") == 1
    assert seen.value("tierwise_queue_messages") == 0
    assert abs(seen.value("tierwise_ledger_clock_skew_seconds")) < 60
    assert seen.value("tierwise_upstream_rate_limited_total") == 1


def test_every_metric_is_declared_and_none_carries_an_id_that_grows_without_end(seen: Seen) -> None:
    for name, metric in METRICS.items():
        assert seen.types[name.removesuffix("_total") if metric.kind == "counter" else name] == metric.kind
    families = {
        name.removesuffix("_total")
        for name in catalogue()
        if not name.endswith(("_bucket", "_sum", "_count"))
    }
    assert families <= seen.types.keys()
    assert {sample.name for sample in seen.samples} <= catalogue().keys()
    assert not [sample for sample in seen.samples if {"job", "batch", "query_id"} & sample.labels.keys()]
    assert {sample.name for sample in seen.samples if "job_id" in sample.labels} == set()  # no job is open


def test_every_line_says_when_how_grave_and_who(seen: Seen) -> None:
    # From the first line of a process to what Celery says as it ends
    for line in seen.lines:
        assert {"time", "level", "logger", "message", "process"} <= line.keys()
        assert line["level"] in ("info", "warning")
        assert "guest:guest" not in str(line)
    loggers = {line["logger"].partition(".")[0] for line in seen.lines}
    assert {"celery", "tierwise"} <= loggers
    assert [line for line in seen.lines if "shutdown" in line["message"].lower()]


def test_a_batch_is_one_line_with_what_it_came_to(seen: Seen) -> None:
    done = [line for line in seen.lines if line["message"].endswith(": committed")]
    assert sorted((line["job"], line["generation"], line["batch"]) for line in done) == [
        (JOB, 1, n) for n in range(3)
    ]
    assert sum(line["queries"] for line in done) == ROWS == sum(line["statuses"]["answered"] for line in done)
    assert sum(line["calls"] for line in done) == seen.value("tierwise_calls_total")
    assert sum(Decimal(line["cost_usd"]) for line in done) * 10**9 == seen.place.money(JOB).spent
    assert all(line["seconds"] > 0 and line["task_id"] for line in done)


def test_trouble_is_said_once_with_its_batch(seen: Seen) -> None:
    warnings = [line for line in seen.lines if line["level"] == "warning"]
    (limited,) = [line for line in warnings if "429" in line["message"]]
    (presumed,) = [line for line in warnings if "unknown outcome" in line["message"]]
    assert limited["job"] == presumed["job"] == JOB
    assert presumed["batch"] in range(3)


def test_a_job_is_one_trace_from_submit_to_close(seen: Seen) -> None:
    # Given the spans of all processes that belong to the submit, by name
    (submit,) = [span for span in seen.spans if span.name == "submit"]
    named: dict[str, list[Span]] = defaultdict(list)
    for span in seen.spans:
        if span.trace == submit.trace:  # what a sweep publishes again begins a trace of its own
            named[span.name].append(span)
    assert {span.service for span in seen.spans} == {"watched"}
    # Then batches and closing belong to the submit, the steps of a batch to their batch
    assert submit.parent == ""
    assert {span.parent for span in [*named["batch"], *named["close"]]} == {submit.id}
    batches = {span.parent for span in named["walk"]}
    assert batches <= {span.id for span in named["batch"]}
    for step in ("taxonomy", "encode", "plan", "commit"):
        assert {span.parent for span in named[step]} == batches, step
    assert {span.attributes["tierwise.job"] for span in named["batch"]} == {JOB}
    assert sum(int(span.attributes["tierwise.answered"]) for span in named["walk"]) == ROWS
    # and lines of the log name it
    done = [line for line in seen.lines if line["message"].endswith(": committed")]
    assert {line["trace_id"] for line in done} == {submit.trace}


def test_calls_are_spans_by_the_conventions_for_generative_ai(seen: Seen) -> None:
    calls = [span for span in seen.spans if "gen_ai.request.model" in span.attributes]
    rows = seen.place.rows(
        "SELECT call_id, model, outcome, input_tokens, output_tokens, latency_ms FROM calls"
    )
    told = {span.attributes["tierwise.call_id"]: span for span in calls}
    assert len(told) == len(calls) == len(rows)
    for row in rows:
        span = told[row["call_id"]]
        assert span.name == f"chat {row['model']}"
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert span.attributes["gen_ai.usage.input_tokens"] == row["input_tokens"]
        assert span.attributes["gen_ai.usage.output_tokens"] == row["output_tokens"]
        assert span.attributes.get("error.type", "ok") == row["outcome"]
        assert span.milliseconds == row["latency_ms"]


def test_flower_shows_workers_and_tasks_by_their_claim_checks(seen: Seen) -> None:
    tasks = [task for task in seen.flower["tasks"].values() if ours(task)]
    batches = {task["args"] for task in tasks if task["name"] == "tierwise.batch"}
    assert batches == {f"{JOB}, generation 1, batch {number}" for number in range(3)}
    assert f"{JOB}, generation 1" in {task["args"] for task in tasks if task["name"] == "tierwise.close"}
    # our workers are there and alive; others of this broker may be too
    names = {
        line["message"].removesuffix(" ready.") for line in seen.lines if line["message"].endswith(" ready.")
    }
    assert len(names) == 2
    assert {name for name, alive in seen.flower["workers"].items() if alive} >= names
    assert {task["worker"] for task in tasks} <= names


def test_a_port_that_is_taken_is_said_before_any_process_begins(tmp_path: Path) -> None:
    with socket.socket() as taken, broker_queue("RabbitMQ", RABBITMQ) as queue:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        place = Tierwise(folder=tmp_path, settings={"TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue})
        said = tierwise(place, "worker", "--metrics-port", port, code=2)
    assert f"127.0.0.1:{port}" in said.err
    assert "--metrics-port" in said.err
