"""Routing by an endpoint's embeddings: paid once through the ledger, kept in the lake, never in the way."""

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig

LABELS = ("billing", "outage", "other")
PRICES = {
    "small": {"input": "0.1", "output": "0.4"},
    "large": {"input": "5", "output": "20"},
    "meaning": {"input": "0.02", "output": "0"},
}
ROWS = 720  # enough to learn from
FEW = 120


def upstream(**more: Any) -> Any:
    return start_upstream(
        UpstreamConfig(
            rule="echo-label", labels=LABELS, accuracy={"small": 0.99, "large": 0.95}, prices=PRICES,
            models=("small", "large"), embedding_models=("meaning",), **more,
        )
    )  # fmt: skip


def documents(place: Tierwise, rows: int) -> Path:
    """Every text stands twice; one in ten is private."""
    texts, gold = [], []
    for number in range(rows):
        label = LABELS[number // 2 % 3]
        kind = "private note" if number // 2 % 10 == 0 else "message"
        texts.append(f"[gold={label}] {kind} number {number // 2}")
        gold.append(label)
    return write_documents(place.folder / "documents.parquet", texts, gold)


def spec_of(place: Tierwise, served: Upstream, name: str, rows: int = FEW, **changes: Any) -> dict[str, Any]:
    judged = {"structured": "none", "logprobs": False, "accept": 0.99, "trust": 0.6}
    encoder = {
        "provider": "openai", "model": "meaning", "base_url": served.url, "api_key_env": None,
        "price": {"input": "0.02"}, "dimensions": 24,
    }  # fmt: skip
    return {
        "version": 1,
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": list(LABELS)},
        "input": {
            "path": str(documents(place, rows)), "id": "id", "gold": "gold", "batch": {"rows": 90},
        },
        "tiers": model_tiers(served.url, PRICES, ("small", "large"), **judged),
        "budget": {"usd": "5"},
        "history": "none",
        "policy": {"name": "thompson", "encoder": {**encoder, **changes.pop("encoder", {})}},
        **changes,
    }  # fmt: skip


def embed_calls(place: Tierwise, job: str) -> list[dict[str, Any]]:
    return place.rows(
        f"""SELECT outcome, count(*) AS n, sum(cost_usd) AS usd, sum(input_tokens) AS tokens FROM calls
        WHERE job = '{job}' AND purpose = 'embed' AND tier = 'encoder' GROUP BY ALL ORDER BY outcome"""
    )


def embedded(served: Upstream) -> int:
    return sum(line.endpoint == "embeddings" for line in served.meter_lines())


@pytest.mark.timeout(120)
def test_vectors_are_paid_once_and_learned_from(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a first job
        run_spec(place, spec_of(place, served, "first", ROWS), "first")
        # Then each text was paid once, though it stands twice
        paid, reused = embed_calls(place, "first")
        assert (paid["outcome"], paid["n"], reused["outcome"], reused["n"]) == (
            "ok",
            ROWS // 2,
            "reused",
            ROWS // 2,
        )
        assert paid["usd"] > 0
        assert reused["usd"] == 0
        # And the meter says what the ledger says
        assert served.meter_total_nano() == place.money("first").spent
        assert embedded(served) == ROWS // 2
        # And the lake holds a vector for every query, which its rewards were fitted on
        vectors = place.rows("SELECT query_id, vector FROM embeddings WHERE problem IS NULL")
        assert len(vectors) == ROWS
        assert all(sum(x * x for x in row["vector"]) == pytest.approx(1, abs=1e-5) for row in vectors)
        same = place.rows(
            """SELECT count(*) AS n, bool_and(r.features[4:] = e.vector) AS same
            FROM rewards r JOIN embeddings e USING (job, query_id)"""
        )
        assert same[0]["n"] > ROWS // 2  # a text that came again taught nothing new
        assert same[0]["same"] is True
        [policy] = tierwise(place, "policy", "show", "--json").json()
        assert policy["how"] == "learned"
        # When the same texts come again, with the history of answers off
        run_spec(place, spec_of(place, served, "second", ROWS), "second")
        # Then no vector is paid for, and the job is routed by what was learned
        [free] = embed_calls(place, "second")
        assert (free["outcome"], free["n"], free["usd"]) == ("reused", ROWS, 0)
        assert embedded(served) == ROWS // 2
        assert served.meter_total_nano() == place.money("first").spent + place.money("second").spent
        routed = place.rows("SELECT DISTINCT policy_version AS v FROM results WHERE job = 'second'")
        assert [row["v"] for row in routed] == [f"{policy['policy']}@{policy['version']}"]


def guarded(*tiers: str) -> dict[str, Any]:
    """Private texts are for these tiers alone."""
    private = {
        "name": "private",
        "sensitivity": "high",
        "rules": [{"keywords": ["private"]}],
        "allowed_tiers": [*tiers],
    }
    return {"tree": {"categories": [private, {"name": "open", "rules": [{"keywords": ["message"]}]}]}}


@pytest.mark.timeout(120)
def test_the_endpoint_sees_what_its_category_allows(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        run_spec(place, spec_of(place, served, "guarded", taxonomy=guarded("large")), "guarded")
        assert embedded(served) == FEW // 2 * 9 // 10
        problems = place.rows("SELECT problem, count(*) AS n FROM embeddings GROUP BY ALL ORDER BY n")
        assert problems == [
            {"problem": "not allowed to see private", "n": FEW // 10}, {"problem": None, "n": FEW - FEW // 10}
        ]  # fmt: skip
        # And where the category names the encoder among its tiers, it is asked
        run_spec(place, spec_of(place, served, "trusted", taxonomy=guarded("large", "encoder")), "trusted")
        assert embedded(served) == FEW // 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", ["refused", "away", "short"])
def test_without_vectors_a_job_goes_on(tmp_path: Path, trouble: str) -> None:
    """An endpoint that refuses, one that nobody listens at, and money that does not reach for a single text."""
    place = Tierwise(folder=tmp_path)
    changes = {
        "refused": {"model": "unknown"},
        "away": {"base_url": "http://127.0.0.1:9/v1", "retries": 1},
        "short": {"price": {"input": "900000"}},
    }[trouble]
    with upstream() as served:
        report = run_spec(place, spec_of(place, served, trouble, encoder=changes), trouble)
        assert report["statuses"] == {"answered": FEW}
        assert embedded(served) == 0
        assert served.meter_total_nano() == place.money(trouble).spent
    rows = place.rows("SELECT problem, vector FROM embeddings")
    assert len(rows) == FEW
    assert all(row["vector"] is None and row["problem"] for row in rows)
    features = place.rows("SELECT features[4:] AS encoding FROM rewards")
    assert len(features) > FEW // 2
    assert not any(any(row["encoding"]) for row in features)


def test_a_mask_comes_before_the_endpoint(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    source = write_documents(
        tmp_path / "masked.parquet", [f"[gold=other] write to a{number}@b.org" for number in range(3)]
    )
    with upstream() as served:
        spec = spec_of(place, served, "masked")
        spec["task"]["mask"] = ["email"]
        spec["input"] = {"path": str(source), "id": "id"}
        run_spec(place, spec, "masked")
        # Three texts that differ in an address alone are one
        assert embedded(served) == 1


def test_estimate_and_submit_know_the_endpoint(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    served = type("Nobody", (), {"url": "http://127.0.0.1:9/v1"})()
    said = tierwise(place, "estimate", write_spec(place, spec_of(place, served, "priced")), "--json").json()
    [encoder, *_] = said["tiers"]
    assert encoder["tier"] == "encoder"
    assert 0 < float(encoder["expected_usd"]) < float(encoder["bound_usd"])
    # A model without a price, and a key that is not there
    changed = {"price": None, "api_key_env": "NOWHERE_KEY"}
    path = write_spec(place, spec_of(place, served, "unpriced", encoder=changed))
    assert "policy.encoder" in tierwise(place, "run", path, code=2).err
    path = write_spec(place, spec_of(place, served, "keyless", encoder={"api_key_env": "NOWHERE_KEY"}))
    assert "NOWHERE_KEY" in tierwise(place, "run", path, code=2).err
