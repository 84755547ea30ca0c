"""A provider's export beside the ledger: what was presumed and not billed comes back, to the nano-dollar."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.wiring import services
from tests.end_to_end.command import Tierwise, kill_when
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import Said, tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

ROWS = 90
LABELS = ["billing", "refund", "other"]
PRICES = {"small": {"input": "0.1", "output": "0.4"}, "large": {"input": "1", "output": "4"}}
EMBEDDER = "embedder"
KINDS = {"small": "completions", "large": "completions", EMBEDDER: "embeddings"}
DAY_S = 86_400
SHARES = {"cut_after": 0.07, "server_error": 0.07}  # both presumed: the first is billed, the second is not


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    config = {
        "rule": "echo-label", "labels": LABELS, "accuracy": {"small": 0.7, "large": 1.0},
        "prices": {**PRICES, EMBEDDER: {"input": "0.02", "output": "0"}}, "embedding_models": [EMBEDDER],
        "shares": SHARES, "latency_ms": 5,
    }  # fmt: skip
    with start_upstream(config_from(config)) as running:
        yield running


def spec(place: Tierwise, upstream: Upstream, name: str, **more: Any) -> dict[str, Any]:
    texts = [f"[gold={LABELS[number % 3]}] {name} message {number}" for number in range(ROWS)]
    documents = write_documents(place.folder / f"{name}.parquet", texts)
    return {
        "version": 1,
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(documents), "id": "id", "batch": {"rows": 30}},
        "tiers": model_tiers(upstream.url, PRICES, tuple(PRICES), accept=0.7, max_concurrency=4, retries=0),
        "budget": {"usd": "1", "allow": {"failed": 1, "deferred": 1}},
        "history": "none",
        **more,
    }


def page(upstream: Upstream) -> dict[str, Any]:
    """The meter's own record as a page of OpenAI's usage API: its days, the day before, two days after."""
    usage: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in upstream.meter_lines():
        found = usage[(int(line.time // DAY_S), line.model)]
        found["input_tokens"] += line.input + line.cached_input + line.cache_write
        found["input_cached_tokens"] += line.cached_input
        found["output_tokens"] += line.output + line.reasoning
        found["num_model_requests"] += 1
    first, last = min(usage)[0], max(usage)[0]
    buckets = [
        {
            "object": "bucket", "start_time": day * DAY_S, "end_time": (day + 1) * DAY_S,
            "results": [
                {"object": f"organization.usage.{KINDS[model]}.result", "model": f"{model}-2026-01-01", **counts}
                for (on, model), counts in usage.items() if on == day
            ],
        }
        for day in range(first - 1, last + 3)
    ]  # fmt: skip
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def write(place: Tierwise, data: Any) -> None:
    (place.folder / "usage.json").write_text(json.dumps(data), encoding="utf-8")


@contextmanager
def days_later(days: float) -> Iterator[None]:
    now = services.now_ms
    with patch.object(services, "now_ms", lambda: now() + int(days * DAY_S * 1000)):
        yield


def reconcile(place: Tierwise, *arguments: str, code: int | None = 0) -> Said:
    return tierwise(place, "reconcile", str(place.folder / "usage.json"), *arguments, code=code)


def test_what_was_presumed_and_not_billed_comes_back(place: Tierwise, upstream: Upstream) -> None:
    # Given two jobs, one killed in its middle, with presumed calls of which some were billed
    path = write_spec(place, spec(place, upstream, "killed"))
    running = place.start("run", path, "--job", "killed")
    kill_when(running, lambda: upstream.stats().served > 40)
    place.run("resume", "killed", code=0)
    run_spec(place, spec(place, upstream, "calm"), "calm")
    before = {job: place.money(job) for job in ("killed", "calm")}
    charged = place.rows("SELECT sum(cost_usd) AS usd, count(*) FILTER (presumed) AS presumed FROM calls")[0]
    metered = upstream.meter_total_nano()
    assert charged["presumed"] > 10
    assert sum(account.spent for account in before.values()) > metered
    write(place, page(upstream))

    # When the export is compared while its day is not over, then nothing may be released
    said = reconcile(place, "--release", "--json").json()
    assert said["explained"] is True
    assert said["released_usd"] == "0.000000000"
    assert all("more may come" in each["kept"] for each in said["presumed"])
    assert {job: place.money(job) for job in before} == before

    # When it is compared days later, then every difference has its reason and nothing is changed yet
    with days_later(4):
        said = reconcile(place, "--json").json()
        told = reconcile(place).out
    assert said["explained"] is True
    assert {each["kind"] for one in said["compared"] for each in one["differences"]} == {"presumed"}
    assert {each["theirs"] for each in said["models"]} == {"small-2026-01-01", "large-2026-01-01"}
    assert "small is billed as small-2026-01-01" in told
    assert "Every difference is explained. Next: --release gives" in told
    assert {job: place.money(job) for job in before} == before

    # When it is released
    with days_later(4):
        said = reconcile(place, "--release", "--json").json()
    # Then the accounts stand at what the meter says, nothing is presumed, and the lake knows each call
    after = {job: place.money(job) for job in before}
    assert sum(account.spent for account in after.values()) == metered
    assert [account.presumed for account in after.values()] == [0, 0]
    assert tierwise(place, "status", "calm", "--json").json()["presumed_nano"] == 0
    found = place.rows(
        "SELECT count(DISTINCT call_id) AS calls, count(*) AS lines, sum(charged_usd - cost_usd) AS usd FROM releases"
    )[0]
    assert (found["calls"], found["lines"]) == (charged["presumed"], charged["presumed"])
    assert f"{found['usd']:f}" == said["released_usd"]
    assert (charged["usd"] - found["usd"]) * 10**9 == metered

    # When it is released again, then nothing changes and both sides agree
    with days_later(4):
        said = reconcile(place, "--release", "--json").json()
    assert said["released_usd"] == "0.000000000"
    assert [one["differences"] for one in said["compared"]] == [[], []]
    assert {job: place.money(job) for job in before} == after
    assert place.rows("SELECT count(*) AS lines FROM releases")[0]["lines"] == charged["presumed"]


def test_killed_between_settlement_and_record_the_next_run_makes_up(
    place: Tierwise, upstream: Upstream
) -> None:
    # Given a release that dies when its calls are settled and the lake does not know yet
    run_spec(place, spec(place, upstream, "night"), "night")
    write(place, page(upstream))
    with days_later(4), patch("jobs.reconcile.record", side_effect=KeyboardInterrupt):
        reconcile(place, "--release", code=130)
    assert place.money("night").spent == upstream.meter_total_nano()
    assert place.rows("SELECT * FROM releases") == []
    # When it is run again, once the dead one's lease has run out
    with days_later(5):
        said = reconcile(place, "--release", "--json").json()
    # Then nothing more comes back, and every call is on record
    assert said["released_usd"] == "0.000000000"
    found = place.rows("SELECT sum(charged_usd - cost_usd) AS back FROM releases")[0]
    paid = place.rows("SELECT sum(cost_usd) AS usd, count(*) FILTER (presumed) AS presumed FROM calls")[0]
    assert (paid["usd"] - found["back"]) * 10**9 == upstream.meter_total_nano()
    assert place.rows("SELECT count(*) AS lines FROM releases")[0]["lines"] == paid["presumed"]


def test_differences_are_told_apart(place: Tierwise, upstream: Upstream) -> None:
    upstream.control(shares={})
    run_spec(place, spec(place, upstream, "night"), "night")
    whole = page(upstream)
    results = next(bucket["results"] for bucket in whole["data"] if bucket["results"])
    # Other users of the key, and a model that no job asked
    small = next(each for each in results if each["model"].startswith("small"))
    write(place, page(upstream))
    with days_later(4):
        said = reconcile(place, "--json").json()
    assert (said["explained"], [one["differences"] for one in said["compared"]]) == (True, [[], []])
    small["input_tokens"] += 70_000
    small["num_model_requests"] += 9
    results.append({**small, "model": "strange"})
    write(place, whole)
    with days_later(4):
        said = reconcile(place, "--json").json()
        told = reconcile(place).out
    found = {
        (one["billed_as"], each["kind"]): each["usd"]
        for one in said["compared"]
        for each in one["differences"]
    }
    assert found == {("small-2026-01-01", "others"): "0.007000000", ("strange", "others"): "0.000000000"}
    assert "70,000 input tokens more billed, by other users of the key" in told
    assert "strange (not ours)" in told

    # Usage that is missing has no explanation, and its exit code
    small["input_tokens"] -= 70_001
    write(place, whole)
    with days_later(4):
        said = reconcile(place, "--json", code=8).json()
        told = reconcile(place, code=8).out
    assert said["explained"] is False
    assert "UNEXPLAINED: small" in told
    assert "1 input tokens fewer billed than replies stated" in told
    assert "1 differences have no explanation." in told

    # A name that no rule finds is told
    for each in results:
        each["model"] = each["model"].replace("small-2026-01-01", "tiny-one")
    small["input_tokens"] += 1
    small["num_model_requests"] -= 9
    write(place, whole)
    with days_later(4):
        said = reconcile(place, "--json", "--model", "small=tiny-one").json()
    assert said["models"][1] == {"ours": "small", "theirs": "tiny-one", "why": "as --model says"}
    assert [one["differences"] for one in said["compared"][:2]] == [[], []]

    # Days that are not in the export are not compared
    with days_later(4):
        said = reconcile(place, "--json", "--to", "2020-01-01").json()
    assert said["compared"] == []
    assert said["outside"] >= ROWS


def test_embeddings_are_compared_where_the_export_has_them(place: Tierwise, upstream: Upstream) -> None:
    upstream.control(shares={})
    encoder = {
        "provider": "openai", "model": EMBEDDER, "base_url": upstream.url, "api_key_env": None,
        "price": {"input": "0.02"}, "dimensions": 8, "shortened": False,
    }  # fmt: skip
    run_spec(place, spec(place, upstream, "night", policy={"name": "thompson", "encoder": encoder}), "night")
    whole = page(upstream)
    write(place, whole)
    with days_later(4):
        said = reconcile(place, "--json").json()
    assert {one["billed_as"]: one["differences"] for one in said["compared"]} == {
        f"{model}-2026-01-01": [] for model in KINDS
    }
    for bucket in whole["data"]:
        bucket["results"] = [each for each in bucket["results"] if "completions" in each["object"]]
    write(place, whole)
    with days_later(4):
        said = reconcile(place, "--json").json()
    assert [[each["kind"] for each in one["differences"]] for one in said["compared"]] == [
        ["elsewhere"],
        [],
        [],
    ]


def test_a_table_without_empty_days_is_whole_when_the_operator_says_so(
    place: Tierwise, upstream: Upstream
) -> None:
    upstream.control(shares={})
    run_spec(place, spec(place, upstream, "night"), "night")
    bucket = next(each for each in page(upstream)["data"] if each["results"])
    period = {"start_time": bucket["start_time"], "end_time": bucket["end_time"], "input_cached_tokens": 0}
    names = (*period, "model", "input_tokens", "output_tokens")
    rows = [names, *([str((period | each)[name]) for name in names] for each in bucket["results"])]
    (place.folder / "usage.json").write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    day = datetime.fromtimestamp(bucket["start_time"], UTC)
    period_given = ("--from", f"{day - timedelta(days=1):%F}", "--to", f"{day + timedelta(days=2):%F}")
    with days_later(4):
        assert [one["whole"] for one in reconcile(place, "--json").json()["compared"]] == [False, False]
        said = reconcile(place, "--json", *period_given).json()
    assert [(one["whole"], one["differences"]) for one in said["compared"]] == [(True, []), (True, [])]


def test_bad_input_is_said_with_its_fix(place: Tierwise, upstream: Upstream) -> None:
    upstream.control(shares={})
    run_spec(place, spec(place, upstream, "night"), "night")
    whole = page(upstream)
    whole["data"][1]["results"][0]["model"] = None
    write(place, whole)
    said = reconcile(place, code=2).err
    assert "usage.json cannot be read: data[1].results[0]: it names no model. Nothing was changed." in said
    assert "Fix: Export again, grouped by model (group_by[]=model)." in said
    write(place, page(upstream))
    assert "is no OURS=THEIRS" in reconcile(place, "--model", "small", code=2).err
    assert "not closed yet, or not in this lake" in reconcile(place, "--job", "none", code=2).err
    assert "No such file" in tierwise(place, "reconcile", "none.json", code=2).err
    # Two at once release nothing twice
    with patch("pipeline.ledger.sql.ledger.SqlLedger.take", return_value=None):
        assert "Another process is releasing" in reconcile(place, "--release", code=5).err
