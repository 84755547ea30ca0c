"""Ready questions about a job, and two jobs side by side."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.report.sql import parameters, questions, text_of
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import write_documents

TEXTS = ["a red apple", "a green plum", "a red plum", "a brown bear"]
GOLD = ["fruit", "fruit", "fruit", "animal"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """The jobs `one` and `two`: the second knows plums, has lost one document and read another anew."""
    place = Tierwise(folder=tmp_path_factory.mktemp("diff"))
    run_spec(
        place, spec_of(place, "one", TEXTS, GOLD, {"fruit": ["apple"], "animal": ["bear", "red"]}), "one"
    )
    texts = ["a red apple", "a green plum", "a red bear"]
    run_spec(
        place, spec_of(place, "two", texts, GOLD[:3], {"fruit": ["apple", "plum"], "animal": ["bear"]}), "two"
    )
    return place


def spec_of(
    place: Tierwise, name: str, texts: list[str], gold: list[str], keywords: dict[str, list[str]]
) -> dict[str, Any]:
    return {
        "name": name,
        "task": {"kind": "classify", "labels": ["fruit", "animal", "other"], "abstain": "other"},
        "input": {
            "path": str(write_documents(place.folder / f"{name}.parquet", texts, gold)), "id": "id", "gold": "gold",
        },
        "tiers": [{"name": "words", "provider": "keyword", "keywords": keywords, "accept": 0}],
        "budget": {"usd": 0, "allow": {"failed": 1}},
    }  # fmt: skip


def test_diff_counts_only_the_same_documents(two: Tierwise) -> None:
    said = tierwise(two, "diff", "one", "two", "--json").json()
    assert said["queries"]["both"] == 2  # q0 and q1; q2 has another text
    assert (said["queries"]["only_before"], said["queries"]["only_after"]) == (2, 1)
    changed = {row["query_id"]: (row["before"], row["after"]) for row in said["changed"]}
    answers = {
        job: {
            row["query_id"]: row["answer"]
            for row in two.rows(f"SELECT query_id, answer FROM results WHERE job = '{job}'")
        }
        for job in ("one", "two")
    }
    assert changed == {
        name: (answers["one"][name], answers["two"][name])
        for name in ("q0", "q1")
        if answers["one"][name] != answers["two"][name]
    }
    assert changed["q1"][1] == "fruit"
    assert said["queries"]["now_right"] >= 1
    assert said["queries"]["now_wrong"] == 0


def test_diff_names_what_differs_in_the_spec(two: Tierwise) -> None:
    said = tierwise(two, "diff", "one", "two", "--json").json()
    differing = {row["at"]: (row["before"], row["after"]) for row in said["spec"]}
    assert differing["name"] == ("one", "two")
    assert differing["tiers[0].keywords.fruit"] == (["apple"], ["apple", "plum"])
    printed = tierwise(two, "diff", "one", "two").out
    assert "2 queries in both" in printed
    assert "tiers[0].keywords.fruit" in printed


def test_a_job_beside_itself_differs_in_nothing(two: Tierwise) -> None:
    said = tierwise(two, "diff", "one", "one", "--json").json()
    assert said["queries"] == {
        "both": 4, "only_before": 0, "only_after": 0, "changed": 0, "now_wrong": 0, "now_right": 0,
    }  # fmt: skip
    assert said["changed"] == said["flips"] == said["spec"] == []


def test_diff_needs_both_jobs(two: Tierwise) -> None:
    assert "no job 'three'" in tierwise(two, "diff", "one", "three", code=2).err


def test_every_ready_question_has_an_answer(two: Tierwise) -> None:
    listed = {row["name"]: row["answers"] for row in tierwise(two, "query", "--list", "--json").json()}
    assert listed == questions()
    assert {"tiers", "dearest", "nights", "spend"} <= set(listed)
    for name in listed:
        assert listed[name].endswith("."), f"{name} does not say what it answers"
        known = {"job": "one", "schedule": "none"}
        given = [f"--{each}={known[each]}" for each in parameters(text_of(name)) if each in known]
        tierwise(two, "query", name, *given, "--json").json()
    assert [row["job"] for row in tierwise(two, "query", "nights", "--json").json()] == ["two", "one"]


def test_a_question_about_one_job_asks_which(two: Tierwise) -> None:
    assert "--job JOB" in tierwise(two, "query", "tiers", code=2).err
    assert "--list" in tierwise(two, "query", code=2).err


def test_answers_go_into_a_parquet_file(two: Tierwise, tmp_path: Path) -> None:
    sql = "SELECT query_id, cost_usd FROM results WHERE job = 'one' ORDER BY query_id"
    out = tmp_path / "rows.parquet"
    tierwise(two, "query", sql, "-o", str(out))
    printed = csv.DictReader(StringIO(tierwise(two, "query", sql, "--format", "csv").out))
    assert [row["query_id"] for row in pq.read_table(out).to_pylist()] == [row["query_id"] for row in printed]
    assert str(pq.read_schema(out).field("cost_usd").type) == "decimal128(18, 9)"
    refused = tierwise(two, "query", sql, "-o", str(tmp_path), code=2).err
    assert "cannot be written" in " ".join(refused.replace("│", " ").split())


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_file_holds_what_is_printed(two: Tierwise, tmp_path: Path, form: str) -> None:
    sql = (
        "SELECT query_id, tiers_asked, cost_usd, confidence FROM results WHERE job = 'one' ORDER BY query_id"
    )
    out = tmp_path / f"rows.{form}"
    tierwise(two, "query", sql, "-o", str(out))
    printed = tierwise(two, "query", sql, "--format", form).out
    assert out.read_bytes().decode().replace("\r\n", "\n") == printed.replace("\r\n", "\n")
    assert '["words"]' in printed.replace('""', '"')


def test_the_columns_say_what_they_hold(two: Tierwise) -> None:
    rows = tierwise(two, "query", "columns", "--json").json()
    assert {"view": "results", "column": "cost_usd", "type": "DECIMAL(18,9)"}.items() <= next(
        row for row in rows if (row["view"], row["column"]) == ("results", "cost_usd")
    ).items()
    assert all(row["comment"] and row["holds"] for row in rows)
    # And the dictionary needs no lake
    views = {view["view"]: view for view in tierwise(two, "schema", "--tables", "--json").json()}
    assert [(row["view"], row["column"]) for row in rows] == [
        (view, column["column"]) for view, each in views.items() for column in each["columns"]
    ]
    assert "| cost_usd | DECIMAL(18,9) |" in tierwise(two, "schema", "--tables").out
