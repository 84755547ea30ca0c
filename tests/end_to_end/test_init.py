"""A job spec from a file of documents, and the spec works."""

import csv
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
from tests.terminal import at_terminal

HEADER = ['Ünïque "ID"', "Beschreibung (lang)", "Kategorie: A/B"]
ROWS = [
    ["1", 'Wo bleibt "mein" Paket, bitte?', "yes"],
    ["2", "Die Rechnung, die heute kam, ist falsch", "no"],
    ["3", "Bitte alles\nkündigen", "yes"],
    ["4", "Die Lampe geht nicht an {sic}", 'no: "never"'],
    ["5", "Ich brauche eine Kopie der Rechnung", "no"],
    ["6", "Geld zurück, sofort", 'no: "never"'],
]


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """Specs name a model of a provider elsewhere; they are priced, never run."""
    return Tierwise(folder=tmp_path, settings={"TIERWISE_FORBID_REMOTE": ""})


def write_rows(place: Tierwise, name: str = "awk ward.csv") -> str:
    with (place.folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS])
    return name


def test_awkward_columns_become_a_spec_that_holds(place: Tierwise) -> None:
    # Given columns and labels full of quotes and colons
    said = tierwise(place, "init", write_rows(place), "-o", "specs.yaml", "--json").json()

    # Then they are found, and the spec says so
    assert (said["task"], said["id"], said["text"], said["gold"]) == ("classify", *HEADER)
    assert sorted(said["labels"]) == ["no", 'no: "never"', "yes"]
    spec = yaml.safe_load((place.folder / "specs.yaml").read_text())
    assert (spec["input"]["id"], spec["input"]["text"], spec["input"]["gold"]) == tuple(HEADER)
    assert sorted(spec["task"]["labels"]) == sorted(said["labels"])

    # And it is priced as estimate prices it, under a cap that covers every tier
    estimate = tierwise(place, "estimate", "specs.yaml", "--json").json()
    assert estimate["queries"] == said["queries"] == len(ROWS)
    assert Decimal(estimate["high_usd"]) == Decimal(said["high_usd"]) <= Decimal(str(spec["budget"]["usd"]))


def test_the_spec_stands_where_it_is_told_to(place: Tierwise) -> None:
    (place.folder / "specs").mkdir()
    tierwise(place, "init", write_rows(place), "-o", "specs/mine.yaml", "--label", "a", "--label", "b")
    assert tierwise(place, "estimate", "specs/mine.yaml", "--json").json()["queries"] == len(ROWS)
    assert yaml.safe_load((place.folder / "specs/mine.yaml").read_text())["task"]["labels"] == ["a", "b"]


def test_every_task_makes_a_spec_that_holds(place: Tierwise) -> None:
    write_rows(place)
    for kind in ("classify", "extract", "answer"):
        tierwise(
            place, "init", "awk ward.csv", "--task", kind, "-o", f"{kind}.yaml", "--model", "gpt-4o-mini"
        )
        assert tierwise(place, "estimate", f"{kind}.yaml", "--json").json()["queries"] == len(ROWS)


def test_what_is_there_is_not_overwritten(place: Tierwise) -> None:
    write_rows(place)
    (place.folder / "job.yaml").write_text("mine")
    assert "--force" in tierwise(place, "init", "awk ward.csv", code=2).err
    assert (place.folder / "job.yaml").read_text() == "mine"
    tierwise(place, "init", "awk ward.csv", "--force")
    assert yaml.safe_load((place.folder / "job.yaml").read_text())["version"] == 1


def test_what_cannot_be_guessed_is_asked_for(place: Tierwise) -> None:
    write_rows(place)
    assert "Columns:" in tierwise(place, "init", "awk ward.csv", "--text", "nope", code=2).err
    assert "no such file" in tierwise(place, "init", "gone.csv", code=2).err
    (place.folder / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    assert "--text COLUMN" in tierwise(place, "init", "numbers.csv", code=2).err
    said = tierwise(place, "init", "awk ward.csv", "--model", "no-such-model", code=2).err
    assert "no-such-model" in said
    assert not (place.folder / "job.yaml").exists()


def test_what_no_option_says_is_asked_on_a_terminal(place: Tierwise) -> None:
    # Given a person at a terminal who takes the columns as guessed and wants one model
    write_rows(place)
    command = [sys.executable, "-m", "jobs.cli", "init", "awk ward.csv"]
    with at_terminal(command, place) as screen:
        for asked, said in (
            ("document [Beschr", ""),
            ("if any [Kategorie", ""),
            ("cheapest first [", "gpt-4o"),
        ):
            screen.wait_for(asked)
            screen.type(said)
        screen.wait_for("Next: look through it")
    spec = yaml.safe_load((place.folder / "job.yaml").read_text())
    assert (spec["input"]["text"], spec["input"]["gold"]) == tuple(HEADER[1:])
    assert [tier["model"] for tier in spec["tiers"]] == ["gpt-4o"]


def test_an_endpoint_of_ones_own_with_a_free_classifier_before_it(place: Tierwise) -> None:
    write_rows(place)
    given = ("--train", "awk ward.csv", "--base-url", "http://127.0.0.1:9/v1", "--no-key")
    assert "no price" in tierwise(place, "init", "awk ward.csv", *given, "--model", "own", code=2).err
    said = tierwise(
        place, "init", "awk ward.csv", *given, "--model", "own", "--price", "own=0.1/0.4", "--json"
    ).json()
    classifier, own = yaml.safe_load((place.folder / "job.yaml").read_text())["tiers"]
    assert (classifier["provider"], classifier["text"], classifier["label"]) == ("sklearn", *HEADER[1:])
    assert (own["base_url"], own["api_key_env"]) == ("http://127.0.0.1:9/v1", None)
    assert own["price"] == {"input": "0.1", "output": "0.4"}
    assert Decimal(said["high_usd"]) > 0


def test_a_free_job_runs_at_once(place: Tierwise) -> None:
    write_rows(place)
    tierwise(place, "init", "awk ward.csv", "--train", "awk ward.csv", "--free")
    said = tierwise(place, "run", "job.yaml", "--json").json()
    assert (said["statuses"], Decimal(said["cost_usd"])) == ({"answered": len(ROWS)}, 0)
    assert "--train" in tierwise(place, "init", "awk ward.csv", "--free", "--force", code=2).err
    written = tierwise(place, "init", "awk ward.csv", "--price", "gpt", "--force", code=2).err
    assert "MODEL=IN/OUT" in written


def test_labels_of_a_sorted_file_are_all_found(place: Tierwise) -> None:
    rows = [
        [str(number), f"message number {number} of many", f"label-{number // 900}"] for number in range(2700)
    ]
    with (place.folder / "sorted.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *rows])
    said = tierwise(place, "init", "sorted.csv", "--train", "sorted.csv", "--free", "--json").json()
    assert said["labels"] == ["label-0", "label-1", "label-2"]
