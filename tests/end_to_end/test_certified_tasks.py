"""Certificates of every kind of answer: a label, a set, a path, a choice, an object; rejected, masked, kept apart."""

import csv
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise

pytestmark = pytest.mark.usefixtures("one_draw")
ROWS = 120
QUALITY = {"target": 0.8, "reference": "dear", "pilot": 30, "audit": 60}
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "mail": {"type": "string"}},
    "required": ["total"],
}
TASKS: dict[str, tuple[dict[str, Any], Callable[[int], str], str]] = {
    "multi": (
        {"kind": "classify", "mode": "multi", "labels": ["red", "green", "blue"]},
        lambda number: json.dumps(["green", "red"] if number % 2 else ["blue"]),
        '["red"]',
    ),
    "hierarchical": (
        {"kind": "classify", "mode": "hierarchical", "labels": ["animal/cat", "animal/dog", "plant"]},
        lambda number: ["animal/cat", "animal/dog", "plant"][number % 3],
        "animal/dog",
    ),
    "choice": (
        {"kind": "answer", "choices": ["A", "B", "C"]},
        lambda number: "ABC"[number % 3],
        "A",
    ),
    "extract": (
        {"kind": "extract", "schema": SCHEMA, "mask": ["email"]},
        lambda number: json.dumps({"total": number, "mail": "[EMAIL_1]"}),
        '{"total": -1, "mail": "[EMAIL_1]"}',
    ),
}


def texts() -> list[str]:
    return [f"document {number} of someone{number}@example.com" for number in range(ROWS)]


def asked_with(text: str, task: dict[str, Any]) -> str:
    """As the tier sees it."""
    return f"{text.rpartition(' ')[0]} [EMAIL_1]" if task.get("mask") else text


def spec_of(place: Tierwise, name: str, wrong_every: int = 5, **changes: Any) -> dict[str, Any]:
    """A cheap tier that is wrong on every fifth row and says so in nine of ten cases, and a dear one that is right."""
    task, right, wrong = TASKS[name]
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(texts()):
        missed = number % wrong_every == 0
        sure = 0.5 if missed and number % 50 else 0.95
        for model, response in (("cheap", wrong if missed else right(number)), ("dear", right(number))):
            rows.append(
                {
                    "dataset": "d", "query_id": f"q{number}", "text": asked_with(text, task), "model": model,
                    "response": response, "confidence": sure if model == "cheap" else 0.9,
                    "cost_usd": 0.0001 if model == "cheap" else 0.01,
                }
            )  # fmt: skip
    outcomes = place.folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), outcomes)
    with (place.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "gold"])
        for number, text in enumerate(texts()):
            table.writerow([f"q{number}", text, right(number).replace("[EMAIL_1]", text.rpartition(" ")[2])])
    tiers = [
        {"name": model, "provider": "recorded", "outcomes": str(outcomes), "dataset": "d", "model": model}
        for model in ("cheap", "dear")
    ]
    return {
        "version": 1,
        "name": name,
        "task": task,
        "input": {"path": f"{name}.csv", "id": "id", "gold": "gold", "batch": {"rows": 50}},
        "tiers": tiers,
        "budget": {"usd": "5"},
        "quality": QUALITY,
        **changes,
    }


@pytest.mark.parametrize("reference", ["dear", "gold"])
@pytest.mark.parametrize("name", list(TASKS))
def test_every_kind_of_answer_is_certified(place: Tierwise, name: str, reference: str) -> None:
    said = run_spec(place, spec_of(place, name, quality={**QUALITY, "reference": reference}), name)
    row = said["certificate"]
    assert row["certified"], row["reason"]
    assert row["agreeing"] > 0.8 * row["audited"]
    assert row["reference_accuracy"] == 1.0
    # And the estimate for all rows holds what is true of them
    [truth] = place.rows(
        "SELECT avg((r.answer = d.gold)::INT) AS share FROM results r JOIN documents d USING (job, query_id)"
    )
    assert row["accuracy_low"] - 0.02 <= truth["share"] <= row["accuracy_high"] + 0.02
    # And its parts are beside it
    parts = json.loads(row["parts"])
    assert parts["categories"]["(root)"]["population"] == ROWS
    beside = {"multi": ("labels", {"red", "green", "blue"}), "extract": ("fields", {"mail", "total"})}.get(
        name
    )
    assert beside is None or set(parts[beside[0]]) == beside[1]


def test_free_text_has_nothing_to_agree_with(place: Tierwise) -> None:
    spec = spec_of(place, "choice")
    spec["task"] = {"kind": "answer"}
    said = tierwise(place, "run", write_spec(place, spec), code=2)
    assert "free text agrees with nothing word for word" in said.err


def test_rejected_rows_disagree(place: Tierwise) -> None:
    # Given a fifth of the rows without a text
    spec = spec_of(place, "choice")
    path = place.folder / "choice.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(line if at % 5 else f"q{at},,A" for at, line in enumerate(lines))]))
    # When 95 % are to agree
    spec["quality"] = {**QUALITY, "target": 0.95}
    said = tierwise(place, "run", write_spec(place, spec), "--json", code=7).json()
    # Then that is out of reach, since rows that were not asked count
    assert said["certificate"]["sure"] < 0.85


def test_gold_must_be_known_of_every_row_that_is_drawn(place: Tierwise) -> None:
    spec = spec_of(place, "choice", quality={**QUALITY, "reference": "gold"})
    path = place.folder / "choice.csv"
    path.write_text("\n".join(line.rpartition(",")[0] + "," for line in path.read_text().splitlines()[:61]))
    path.write_text(path.read_text().replace("id,text,", "id,text,gold"))
    said = tierwise(place, "run", write_spec(place, spec), code=2)
    assert "60 of the 60 rows drawn have no gold" in said.err


def test_tiers_of_this_process_and_repeated_documents(place: Tierwise) -> None:
    # Given a ladder that begins with keywords, and every document three times
    spec = spec_of(place, "multi", input={"path": "three.csv", "id": "id", "batch": {"rows": 50}})
    keywords = {"red": ["1", "3"], "green": ["1", "3"], "blue": ["2", "4"]}
    spec["tiers"] = [{"name": "words", "provider": "keyword", "keywords": keywords}, *spec["tiers"]]
    with (place.folder / "three.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        for number, text in enumerate(3 * texts()):
            table.writerow([f"r{number}", text])
    # When it is run
    said = run_spec(place, spec, "multi")
    # Then it is certified, and each document was paid for once at most at each tier
    assert said["certificate"]["certified"], said["certificate"]["reason"]
    paid = place.rows("SELECT request_hash FROM calls WHERE cost_usd > 0")
    assert len(paid) == len({row["request_hash"] for row in paid})
    asked = {row["purpose"] for row in place.rows("SELECT DISTINCT purpose FROM calls WHERE tier = 'words'")}
    assert "audit" in asked


def test_the_audit_keeps_queries_from_tiers_that_may_not_see_them(place: Tierwise) -> None:
    # Given a category that only the cheap tier may see, a fifth of the rows
    private = {"name": "private", "rules": [{"regex": r"document \d*[05]\b"}], "allowed_tiers": ["cheap"]}
    other = {"name": "other", "rules": [{"regex": r"document \d*[1-46-9]\b"}]}
    spec = spec_of(place, "choice", taxonomy={"categories": [private, other]})
    spec["quality"] = {**QUALITY, "target": 0.7}
    # When the job is certified against the dear tier
    said = run_spec(place, spec, "choice")
    # Then no such row was put to it, in the audit either, and all of them count as disagreeing
    seen = place.rows(
        "SELECT count(*) AS n FROM calls c JOIN results r USING (query_id) "
        "WHERE r.category = 'private' AND c.tier = 'dear'"
    )
    assert seen == [{"n": 0}]
    row = said["certificate"]
    assert row["certified"]
    assert 0.7 < row["agreeing"] / row["audited"] < 0.9
    assert 0.75 < row["accuracy"] < 0.85
