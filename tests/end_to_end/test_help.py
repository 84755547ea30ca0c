"""Wrong words on the command line: what was meant, where it was looked for, and the way on; never a traceback."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """Three closed jobs: mails-1, mails-2 and, the newest, bills-1."""
    place = Tierwise(folder=tmp_path_factory.mktemp("help"))
    (place.folder / "docs.csv").write_text("id,text,label\n1,yes please,yes\n2,no thanks,no\n")
    spec = {
        "name": "spec",
        "task": {"kind": "classify", "labels": ["yes", "no"]},
        "input": {"path": "docs.csv", "id": "id"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"yes": ["yes"], "no": ["no"]}}],
        "budget": {"usd": "0"},
        "history": "none",
    }
    path = write_spec(place, spec)
    for job in ("mails-1", "mails-2", "bills-1"):
        tierwise(place, "run", path, "--job", job)
    return place


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run", ["Missing argument 'JOB.yaml'", "tierwise init FILE"]),
        ("run docs.csv", ["it holds documents", "tierwise init docs.csv"]),
        ("run spce.yaml", ["No such file", "Looked in {folder}; there is spec.yaml"]),
        ("estimate .", ["Is a directory", "spec.yaml"]),
        ("rnu", ["No such command 'rnu'", "Did you mean 'run'", "tierwise --help"]),
        ("run spec.yaml --buget 3", ["--buget", "--budget", "tierwise run --help"]),
        ("run spec.yaml --budget abc", ["'--budget'", "valid decimal"]),
        ("policy shwo", ["Did you mean 'show'", "tierwise policy --help"]),
        ("report", ["Missing argument 'JOB'", "`latest` is the newest"]),
        ("status mials-1", ["no job 'mials-1'", "Did you mean mails-1"]),
        ("report mials-1", ["Did you mean mails-1"]),
        ("why mials-1 1", ["Did you mean mails-1"]),
        ("resume mials-1", ["Did you mean mails-1"]),
        ("cancel mials-1", ["Did you mean mails-1"]),
        ("judges mials-1", ["Did you mean mails-1"]),
        ("certify mials-1", ["Did you mean mails-1"]),
        ("diff mails-1 mials-2", ["Did you mean mails-2"]),
        ("feedback mials-1 docs.csv", ["Did you mean mails-1"]),
        ("feedback mails-1 nope.csv", ["'nope.csv' does not exist"]),
        ("review list mials-1", ["Did you mean mails-1"]),
        ("review serve mials-1", ["Did you mean mails-1"]),
        ("review export mials-1 -o x.csv", ["Did you mean mails-1"]),
        ("review import mials-1 docs.csv", ["Did you mean mails-1"]),
        ("learn thompson --job mials-1", ["Did you mean mails-1"]),
        ("query statuses --job mials-1", ["Did you mean mails-1"]),
        ("query statsues", ["no ready question 'statsues'", "Did you mean statuses"]),
        ("status mails", ["2 jobs begin with 'mails'", "mails-1, mails-2", "Write more"]),
        ("report latest --lake nowhere", ["{folder}/nowhere holds no job", "--lake"]),
        ("status ../x", ["no job '../x'"]),
        ("init", ["Missing argument 'FILE'"]),
        ("doctor --online", ["tierwise doctor JOB.yaml --online"]),
    ],
)
def test_a_mistake_reads_like_help(place: Tierwise, words: str, told: list[str]) -> None:
    # When something is wrong, then it says what, and how it is right, to people and to machines
    said = tierwise(place, *words.split(), code=2)
    assert said.out == ""
    assert "Traceback" not in said.err
    message, fix = said.err.split("Fix: ")
    assert message.startswith("Error: ")
    assert fix.strip()
    for each in told:
        assert each.format(folder=place.folder) in said.err
    found = tierwise(place, *words.split(), "--json", code=2).json()
    assert found.keys() >= {"error", "message", "fix"}
    assert (f"Error: {found['message']}", found["fix"]) == (message.strip(), fix.strip())


def test_a_job_by_how_it_begins_or_as_the_latest(place: Tierwise) -> None:
    assert tierwise(place, "status", "b", "--json").json()["job"] == "bills-1"
    assert tierwise(place, "report", "latest", "--json").json()["job"] == "bills-1"
    assert tierwise(place, "report", "mails-2", "--json").json()["job"] == "mails-2"
    assert tierwise(place, "why", "bills", "1", "--json").json()["result"]["job"] == "bills-1"
    jobs = tierwise(place, "diff", "mails-1", "latest", "--json").json()["jobs"]
    assert [each["job"] for each in jobs] == ["mails-1", "bills-1"]
    assert json.loads(tierwise(place, "query", "statuses", "--job", "latest", "--json").out)
    # An id that is there stands for itself, even where others begin with it
    tierwise(place, "run", str(Path(place.folder / "spec.yaml")), "--job", "mails")
    assert tierwise(place, "status", "mails", "--json").json()["job"] == "mails"
