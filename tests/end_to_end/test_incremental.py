"""`schedule.incremental`: only rows that no earlier job of the schedule has answered, by id and content."""

import csv
from typing import Any

from pipeline.wiring.services import now_ms
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_schedule import DAY, NIGHTLY, comes_due, ran, spec_of

INCREMENTAL = {"cron": NIGHTLY, "missed": "latest", "incremental": True}


def write(place: Tierwise, rows: dict[str, str]) -> None:
    with (place.folder / "mails.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *rows.items()])


def night(place: Tierwise, number: int, code: int = 0) -> dict[str, Any]:
    """That occurrence of the schedule comes due; what became of it."""
    comes_due(place, now_ms() - (10 - number) * DAY)
    [told] = ran(place, code)
    return told


def asked(place: Tierwise, job: str) -> set[str]:
    return {row["query_id"] for row in place.rows(f"SELECT query_id FROM documents WHERE job = '{job}'")}


def test_each_night_asks_about_what_is_new_or_changed(place: Tierwise) -> None:
    rows = {"a": "An invoice.", "b": "A refund.", "c": "Another invoice.", "empty": ""}
    write(place, rows)
    tierwise(place, "schedule", "add", spec_of(place, schedule=INCREMENTAL))
    # Given a first night of four rows, one of them empty
    first = night(place, 1, code=3)
    assert first["note"] == "4 new, 0 changed, 0 unchanged"
    # When nothing changes, then the next occurrence makes no job
    second = night(place, 2)
    assert (second["state"], second["job"], second["exit_code"]) == ("nothing_new", None, 0)
    assert second["note"] == "Nothing new: 0 new, 0 changed, 4 unchanged. No job was made."
    # When one text changes, a row comes and one goes, then those two are asked about
    write(place, {**rows, "b": "An invoice, not a refund.", "d": "A refund."} | {"c": rows["c"]})
    third = night(place, 3)
    assert third["note"] == "1 new, 1 changed, 3 unchanged"
    assert asked(place, third["job"]) == {"b", "d"}
    # When a text is again what it was, then it is asked again: its latest answer is about another
    write(place, rows)
    fourth = night(place, 4)
    assert fourth["note"] == "0 new, 1 changed, 3 unchanged"
    # Then each document's latest row is what the schedule has of it
    said = tierwise(place, "query", "current", "--schedule", "nightly", "--json").json()
    assert [(row["query_id"], row["job"]) for row in said] == [
        ("a", first["job"]),
        ("b", fourth["job"]),
        ("c", first["job"]),
        ("d", third["job"]),
        ("empty", first["job"]),
    ]
    assert "--schedule SCHEDULE" in tierwise(place, "query", "current", code=2).err
    # And with another prompt everything is asked anew
    labels = ["billing", "refund", "other"]
    task = {"kind": "classify", "labels": labels}
    tierwise(place, "schedule", "add", spec_of(place, schedule=INCREMENTAL, task=task))
    assert night(place, 5, code=3)["note"] == "4 new, 0 changed, 0 unchanged"


def test_a_row_without_an_id_cannot_be_told_from_another(place: Tierwise) -> None:
    spec = spec_of(place, schedule=INCREMENTAL, input={"path": "mails.csv"})
    assert "input.id" in tierwise(place, "schedule", "add", spec, code=2).err
