"""Judges that ask, over HTTP: what they cost is metered and booked, and one that fails leaves a record."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

LABELS = ["billing", "refund", "other"]
PRICES = {name: {"input": usd, "output": usd} for name, usd in (("small", "1"), ("large", "20"))}
SAMPLES = {"name": "self-consistency", "tier": "small", "samples": 3, "band": 0.3}
GRADED = {"name": "model-graded", "tier": "large", "order": "both"}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    config = {"rule": "echo-label", "labels": LABELS, "accuracy": {"small": 0.8, "large": 0.95}}
    with start_upstream(config_from({**config, "prices": PRICES})) as running:
        yield running


def spec_of(place: Tierwise, upstream: Upstream, rows: int, name: str = "judged", **changes: Any) -> Any:
    gold = [LABELS[number % 3] for number in range(rows)]
    texts = [f"[gold={label}] {name} message {number} " + "x" * number for number, label in enumerate(gold)]
    path = write_documents(place.folder / f"{name}.parquet", texts, gold)
    return {
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(path), "id": "id", "gold": "gold"},
        "tiers": model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.8, retries=0),
        "judges": ["valid", "confidence", "agreement", SAMPLES, GRADED],
        "budget": {"usd": "1"},
        **changes,
    }


def test_what_judges_ask_is_metered_and_booked(place: Tierwise, upstream: Upstream) -> None:
    said = run_spec(place, spec_of(place, upstream, 90), "j")
    # Then the upstream's meter, the ledger and the results agree on every cent
    account = place.money("j")
    assert upstream.meter_total_nano() == account.spent
    [summed] = place.rows("SELECT (sum(cost_usd) * 1e9)::BIGINT AS nano FROM results")
    assert summed["nano"] == account.spent
    # And judges are calls of their own: samples with their number, both orders of every verdict
    asked = place.rows(
        "SELECT tier, sample, count(*) AS calls, sum(cost_usd) > 0 AS paid FROM calls WHERE purpose = 'judge' "
        "GROUP BY ALL ORDER BY ALL"
    )
    [valid] = place.rows("SELECT count(*) AS answers FROM decisions WHERE answer IS NOT NULL")
    by_sample = {(row["tier"], row["sample"]): row["calls"] for row in asked}
    assert by_sample.pop(("large", 0)) == 2 * valid["answers"]
    assert set(by_sample) == {("small", 1), ("small", 2), ("small", 3)}
    assert 0 < by_sample["small", 1] < 90  # only where the others leave it open
    assert all(row["paid"] for row in asked)
    # And decided again from what was paid for, the job is as it was, judges and all
    again = tierwise(place, "replay", "j", "--json").json()
    assert (again["after"]["replayed"], again["after"]["changed"]) == (90, 0)
    for cost in (
        again["before"]["cost_usd"],
        again["after"]["cost_low_usd"],
        again["after"]["cost_high_usd"],
    ):
        assert Decimal(cost) * 10**9 == account.spent
    # And the judges are right often enough to better the ladder's answers
    assert said["accuracy"] >= 0.9
    # When they are audited, then each is held against the labels
    audit = tierwise(place, "judges", "j", "--json").json()
    by_judge = {row["judge"]: row for row in audit["judges"]}
    assert audit["labelled"] == 90
    assert by_judge["model-graded"]["votes"] == valid["answers"]
    assert by_judge["model-graded"]["brier"] < by_judge["confidence"]["brier"]
    kinds = {row["bias"] for row in audit["bias"] if row["judge"] == "model-graded"}
    assert kinds == {"position", "tier", "answer length", "document length", "family"}
    assert "model-graded" in tierwise(place, "judges", "j").out
    assert "model-graded" in tierwise(place, "why", "j", "q0").out


def test_a_judge_that_says_nothing_of_use_leaves_a_record(place: Tierwise, upstream: Upstream) -> None:
    # Given a judge whose first reply is garbage
    upstream.control(script=["ok", "malformed_content"])
    run_spec(
        place, spec_of(place, upstream, 1, judges=["valid", "confidence", {**GRADED, "order": "keyed"}]), "j"
    )
    # Then the answer stands or falls by the others, and the vote says what went wrong
    [result] = place.rows("SELECT status, answer FROM results")
    assert (result["status"], result["answer"]) == ("answered", "billing")
    [vote] = place.rows("SELECT score, reason FROM votes WHERE judge = 'model-graded' AND position = 0")
    assert vote["score"] is None
    assert vote["reason"].startswith("large gave no verdict")
    assert upstream.meter_total_nano() == place.money("j").spent
    assert "model-graded failed (large gave no verdict" in tierwise(place, "why", "j", "q0").out
    [row] = [row for row in tierwise(place, "judges", "j", "--json").json()["judges"] if row["failed"]]
    assert (row["judge"], row["failed"]) == ("model-graded", 1)


def test_no_money_for_a_judge_is_a_record_and_the_answers_are_kept(
    place: Tierwise, upstream: Upstream
) -> None:
    # Given money for the small tier's answers, and for no verdict of the large one
    tiers = model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.3, retries=0)
    spec = spec_of(place, upstream, 5, tiers=tiers, judges=["valid", GRADED], budget={"usd": "0.01"})
    run_spec(place, spec, "j")
    # Then every answer stands on what is known, and each vote says that there was no money
    assert {row["status"] for row in place.rows("SELECT status FROM results")} == {"answered"}
    votes = place.rows("SELECT score, reason FROM votes WHERE judge = 'model-graded'")
    assert len(votes) == 5
    for vote in votes:
        assert vote["score"] is None
        assert vote["reason"].startswith("tier large: exhausted: account job/j: cap $0.01")
    account = place.money("j")
    assert upstream.meter_total_nano() == account.spent < account.cap


def test_a_night_of_labels_weighs_the_judges_of_the_next(place: Tierwise, upstream: Upstream) -> None:
    # Given a first night by the stated weights
    changes: dict[str, Any] = {
        "combiner": "calibrated", "judges": ["valid", "confidence", "agreement", SAMPLES]
    }  # fmt: skip
    run_spec(place, spec_of(place, upstream, 300, "first", **changes), "first")
    [kept] = (place.folder / "lake" / "_combiners").rglob("*-*")
    # When the next night comes
    run_spec(place, spec_of(place, upstream, 300, "second", **changes), "second")
    # Then it is judged by the weights that the first night's labels gave, pinned in its manifest
    manifest = place.folder / "lake" / "_jobs" / "second" / "manifest.json"
    assert str(kept.relative_to(place.folder / "lake")) in manifest.read_text()
    assert "_combiners" not in (place.folder / "lake" / "_jobs" / "first" / "manifest.json").read_text()
    # And its P(correct) is truer
    brier = {}
    for job in ("first", "second"):
        rows = tierwise(place, "judges", job, "--json").json()["judges"]
        brier[job] = next(row["brier"] for row in rows if row["judge"] == "P(correct)")
    assert brier["second"] < brier["first"]


@pytest.mark.parametrize(
    ("judges", "problem"),
    [
        ([{**SAMPLES, "tier": "nobody"}], "there is no tier 'nobody'"),
        ([{**SAMPLES, "temperature": 0}], "greater than 0"),
        (["valid", "valid"], "names a judge twice: valid"),
        (["vali"], "'vali' is not one of the known values"),
        ([{**GRADED, "prompt": "{answer}"}], "may hold {task} alone"),
    ],
)
def test_judges_that_cannot_run_are_refused(
    place: Tierwise, upstream: Upstream, judges: Any, problem: str
) -> None:
    said = tierwise(place, "run", write_spec(place, spec_of(place, upstream, 1, judges=judges)), code=2)
    assert problem in said.err
    assert upstream.meter_lines() == []


def test_a_student_is_a_tier_or_a_judge(place: Tierwise, upstream: Upstream) -> None:
    spec = spec_of(place, upstream, 1, judges=["valid", "student"])
    spec["tiers"].insert(0, {"name": "student", "provider": "student"})
    said = tierwise(place, "run", write_spec(place, spec), code=2)
    assert "a student is a tier or a judge, never both" in said.err


def test_the_estimate_counts_judges(place: Tierwise, upstream: Upstream) -> None:
    def estimated(judges: list[Any]) -> dict[str, Any]:
        spec = write_spec(place, spec_of(place, upstream, 30, judges=judges))
        said: dict[str, Any] = tierwise(place, "estimate", spec, "--json").json()
        return said

    without, beside = estimated(["valid"]), estimated(["valid", SAMPLES, GRADED])
    assert [judge["judge"] for judge in beside["judges"]] == ["self-consistency", "model-graded"]
    for name in ("low_usd", "expected_usd", "high_usd"):
        assert float(beside[name]) > float(without[name])
    assert all(float(judge["bound_usd"]) > float(judge["expected_usd"]) for judge in beside["judges"])
