"""What no tier and no judge settled goes to people and comes back, by the commands they type."""

import csv
import getpass
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise

KEYWORDS = {"billing": ["invoice"], "outage": ["down"]}
TEXTS = [
    f"{'=' * (number % 3)}number {number}: {'invoice' if number % 2 else 'down'}" for number in range(12)
]


@pytest.fixture
def reviewed(place: Tierwise) -> Tierwise:
    """A closed job `r` of in-process tiers, in which every "outage" ends for review: six of twelve."""
    with (place.folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *((f"q{at}", text) for at, text in enumerate(TEXTS))])
    labels = [{"name": "billing"}, {"name": "outage", "min_confidence": 1.0}]
    spec = {
        "version": 1,
        "name": "r",
        "task": {"kind": "classify", "instructions": "Sort.", "labels": labels},
        "input": {"path": "rows.csv", "id": "id"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": KEYWORDS, "accept": 0.5}],
        "budget": {"usd": "1", "allow": {"review": 1.0}},
    }
    said = tierwise(place, "run", write_spec(place, spec), "--job", "r").out
    assert "review serve r" in said
    return place


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.name


def test_a_queue_goes_out_and_comes_back(reviewed: Tierwise) -> None:
    place = reviewed
    [listed] = tierwise(place, "review", "list", "--json").json()
    assert listed == {"job": "r", "review": 6, "reviewed": 0, "waiting": 6, "drawn": 0, "labelled": 0}
    # When the queue is exported, then no cell is a formula and the documents are whole
    assert tierwise(place, "review", "export", "r", "-o", "q.csv", "--json").json()["queries"] == 6
    rows = rows_of(place.folder / "q.csv")
    assert {row["answer"] for row in rows} == {"outage"}
    assert {row["text"][:1] for row in rows} == {"n", "'"}
    assert sorted(row["text"].removeprefix("'") for row in rows) == sorted(TEXTS[::2])
    # When one of the labels is wrong, then its line and the fix are said and nothing is stored
    labels = ["outage", "billing", "", "outage", "weather", "outage"]
    for row, label in zip(rows, labels, strict=True):
        row["label"] = label
    said = tierwise(
        place, "review", "import", "r", write(place.folder / "bad.csv", rows), "--json", code=2
    ).json()
    assert [(each["line"], each["path"]) for each in said["problems"]] == [(6, "label")]
    assert "leave the cell empty" in said["problems"][0]["fix"]
    assert "line 6" in tierwise(place, "review", "import", "r", "bad.csv", code=2).err
    assert place.rows("SELECT * FROM feedback") == []
    # When they are right, then they are kept with who reviewed, and grade the answers
    rows[4] |= {"label": "OUTAGE", "reviewer": "cleo"}
    filled = write(place.folder / "good.csv", rows)
    done = tierwise(place, "review", "import", "r", filled, "--json").json()
    assert done == {"job": "r", "stored": 5, "known": 0, "skipped": 1, "graded": True, "why": ""}
    again = tierwise(place, "review", "import", "r", filled, "--json").json()
    assert (again["stored"], again["known"]) == (0, 5)
    me = getpass.getuser()
    found = place.rows(
        "SELECT reviewer, count(*) AS n, sum(agrees::INT) AS agree FROM reviewed GROUP BY ALL ORDER BY n"
    )
    assert [tuple(row.values()) for row in found] == [("cleo", 1, 1), (me, 4, 3)]
    rewards = place.rows(
        "SELECT reward, p_labelled, selected_by, selected_score FROM rewards WHERE label_source = 'human'"
    )
    assert sorted(row["reward"] for row in rewards) == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert {(row["p_labelled"], row["selected_by"]) for row in rewards} == {(None, "review")}
    assert all(0 < row["selected_score"] < 1 for row in rewards)
    # And results stay as they were; the report and `why` say what people said
    assert place.rows("SELECT count(*) AS n FROM results WHERE status = 'review'") == [{"n": 6}]
    query = rows[1]["query_id"]
    assert f"reviewed: {me} says 'billing'" in tierwise(place, "why", "r", query).out
    [review] = tierwise(place, "why", "r", query, "--json").json()["reviews"]
    assert (review["reviewer"], review["label"], review["selected_by"]) == (me, "billing", "review")
    summary = tierwise(place, "report", "r", "--json").json()["reviewed"]
    assert [(row["reviewer"], row["queries"], row["agree"]) for row in summary] == [
        (me, 4, 3), ("cleo", 1, 1), ("(nobody yet)", 1, 0),
    ]  # fmt: skip
    listed = tierwise(place, "review", "list", "r", "--json").json()
    assert (listed["waiting"], listed["reasons"][0]["waiting"]) == (1, 1)
    assert "cleo" in tierwise(place, "review", "list", "r").out


def test_what_is_left_goes_out_as_parquet(reviewed: Tierwise) -> None:
    place = reviewed
    tierwise(place, "review", "export", "r", "-o", "all.parquet")
    table = pq.read_table(place.folder / "all.parquet")
    label = [b"outage"] + [None] * 5
    at = table.schema.get_field_index("label")
    pq.write_table(
        table.set_column(at, "label", [[each.decode() if each else None for each in label]]),
        place.folder / "one.parquet",
    )
    said = tierwise(place, "review", "import", "r", "one.parquet", "--reviewer", "dan").out
    assert "1 labels of r were stored, 5 rows have no label yet." in said
    assert tierwise(place, "review", "export", "r", "-o", "rest.csv", "--json").json()["queries"] == 5
    assert (
        tierwise(place, "review", "export", "r", "-o", "every.csv", "--all", "--json").json()["queries"] == 6
    )
    assert [row["reviewed_by"] for row in rows_of(place.folder / "every.csv")].count("dan") == 1


def test_the_page_is_ended_as_a_person_ends_it(reviewed: Tierwise) -> None:
    """What it does in a browser: tests/browser."""
    process = reviewed.start("review", "serve", "r", "--json")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert (said["job"], said["waiting"]) == ("r", 6)
    assert said["url"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_cannot_be_done_is_said(reviewed: Tierwise) -> None:
    for asked, why in (
        (("list", "none"), "no job 'none'"),
        (("export", "none", "-o", "x.csv"), "no job 'none'"),
        (("export", "r", "-o", "x.xlsx"), ".csv or .parquet"),
        (("export", "r", "-o", "rows.csv"), "exists already"),
        (("export", "r", "-o", "no/x.csv"), "cannot be written"),
        (("import", "none", "rows.csv"), "no job 'none'"),
        (("import", "r", "rows.csv"), "no column query_id or label"),
        (("import", "r", "missing.csv"), "does not exist"),
        (("import", "r", "rows.csv", "--reviewer", "a\nb"), "control characters"),
        (("serve", "none"), "no job 'none'"),
        (("serve", "r", "--reviewer", " "), "is empty"),
    ):
        assert why in tierwise(reviewed, "review", *asked, code=2).err.replace("\n", " "), asked
    assert reviewed.rows("SELECT * FROM feedback") == []
