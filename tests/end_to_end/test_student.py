"""A student learns by night from the answers that were paid for by day, and the next job is cheaper for it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

ROWS = 400
LABELS = ["billing", "refund", "other"]
PRICES = {name: {"input": "1", "output": "4"} for name in ("small", "large")}
WORDS = {
    "billing": ["invoice", "amount", "charged", "statement"],
    "refund": ["return", "money", "back", "broken"],
    "other": ["hello", "thanks", "question", "opening"],
}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    accuracy = {"small": 0.85, "large": 0.97}
    config = {"rule": "echo-label", "labels": LABELS, "accuracy": accuracy, "prices": PRICES}
    with start_upstream(config_from(config)) as running:
        yield running


def spec_of(place: Tierwise, upstream: Upstream, night: int, **student: Any) -> dict[str, Any]:
    """New messages every night, of the same kinds."""
    gold = [LABELS[number % 3] for number in range(ROWS)]
    texts = [
        f"{WORDS[label][number % 4]} {WORDS[label][number // 4 % 4]} number {night * ROWS + number} [gold={label}]"
        for number, label in enumerate(gold)
    ]
    path = write_documents(place.folder / f"night-{night}.parquet", texts, gold)
    models = model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.7)
    return {
        "name": "nightly",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(path), "id": "id", "gold": "gold"},
        "tiers": [{"name": "student", "provider": "student", "accept": 0.9, **student}, *models],
        "budget": {"usd": "1"},
    }


def test_the_second_night_is_cheaper_and_no_less_right(place: Tierwise, upstream: Upstream) -> None:
    # Given a first night, in which there is nothing to learn from and the student is asked nothing
    first = run_spec(place, spec_of(place, upstream, 1), "first")
    assert [tier["tier"] for tier in first["tiers"]] == ["small", "large"]
    # When the next night's messages come
    second = run_spec(place, spec_of(place, upstream, 2), "second")
    # Then the student answers most of them, at a fraction of the cost and no less right
    by_tier = {tier["tier"]: tier["answered"] for tier in second["tiers"]}
    assert by_tier["student"] > ROWS / 2
    assert float(second["cost_usd"]) < 0.5 * float(first["cost_usd"])
    assert second["correct"] >= first["correct"]
    # And whoever takes up a batch again asks the same student: the version stands in the manifest
    manifest = place.folder / "lake" / "_jobs" / "second" / "manifest.json"
    (version,) = place.rows("SELECT DISTINCT model FROM calls WHERE job = 'second' AND tier = 'student'")
    assert version["model"].removeprefix("student-") in manifest.read_text()
    # And it learns nothing from itself: there is a new version only where the tiers above answered something new
    students = list((place.folder / "lake" / "_students").rglob("*-*"))
    assert len(students) == (1 if by_tier["student"] == ROWS else 2)


def test_it_may_judge_what_the_tiers_above_answer(place: Tierwise, upstream: Upstream) -> None:
    # Given two nights on which a student judges
    judges = ["valid", "confidence", "agreement", {"name": "student", "kept_from": 0.2}]
    for night, job in enumerate(("first", "second"), 1):
        spec = spec_of(place, upstream, night)
        run_spec(place, {**spec, "tiers": spec["tiers"][1:], "judges": judges}, job)
    # Then it is silent before it was taught, and then says how likely it finds each answer
    votes = place.rows("SELECT job, query_id, score FROM votes WHERE judge = 'student'")
    assert {vote["job"] for vote in votes} == {"second"}
    assert min(vote["score"] for vote in votes) > 0.8
    assert 0.7 * ROWS < len({vote["query_id"] for vote in votes}) < 0.9 * ROWS
    # And whoever takes up a batch again hears the same student: it stands in the manifest
    manifest = place.folder / "lake" / "_jobs" / "second" / "manifest.json"
    [reason] = place.rows("SELECT DISTINCT reason FROM votes WHERE judge = 'student'")
    assert f"-{reason['reason'].removeprefix('student ')}" in manifest.read_text()


def test_it_stands_aside_before_it_knows_enough(place: Tierwise, upstream: Upstream) -> None:
    run_spec(place, spec_of(place, upstream, 1, learns_from=ROWS + 1), "first")
    said = tierwise(
        place, "run", write_spec(place, spec_of(place, upstream, 2, learns_from=ROWS + 1)), "--job", "second"
    )
    assert (
        f"Tier student stands aside: closed jobs of this task have fewer than {ROWS + 1} answers" in said.err
    )
    assert "student" not in {row["tier"] for row in place.rows("SELECT tier FROM results")}


def test_a_student_is_refused_where_it_has_nobody_to_learn_from(place: Tierwise, upstream: Upstream) -> None:
    spec = spec_of(place, upstream, 1)
    spec["tiers"] = [*spec["tiers"][1:], spec["tiers"][0]]
    said = tierwise(place, "run", write_spec(place, spec), code=2)
    assert "nobody to learn from" in said.err
    assert "cheapest" in said.err
