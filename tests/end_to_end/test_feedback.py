"""Labels after the fact and what is learned from them, by the commands a person types."""

import asyncio
import csv

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.unit.learning.rewards import answers, learner_of, reward

KEYWORDS = {"billing": ["invoice"], "outage": ["down"]}


def job(place: Tierwise) -> list[str]:
    """A closed job of in-process tiers on the fixed ladder, without gold; its queries."""
    rows = [
        (f"q{number}", f"number {number}: {'invoice' if number % 2 else 'down'}") for number in range(400)
    ]
    with (place.folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *rows])
    spec = {
        "version": 1,
        "name": "late",
        "task": {"kind": "classify", "instructions": "Sort.", "labels": list(KEYWORDS)},
        "input": {"path": "rows.csv", "id": "id"},
        "tiers": [
            {"name": "words", "provider": "keyword", "keywords": KEYWORDS, "accept": 1.0},
            {"name": "likeness", "provider": "similarity"},
        ],
        "budget": {"usd": "1"},
    }
    tierwise(place, "run", write_spec(place, spec), "--job", "late")
    return [name for name, _ in rows]


def labels(place: Tierwise, rows: list[tuple[str, ...]], *columns: str) -> str:
    path = place.folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns or ("query_id", "label", "source"), *rows])
    return str(path)


def test_late_labels_teach_a_policy(place: Tierwise) -> None:
    # Given a closed job, and labels of which two are wrong
    queries = job(place)
    right = [(name, "billing" if number % 2 else "outage", "gold") for number, name in enumerate(queries)]
    wrong = labels(place, [*right, ("q999", "billing", "gold"), ("q1", "weather", "gold")])
    # When they are given, then both mistakes are said and nothing is stored
    said = tierwise(place, "feedback", "late", wrong, code=2)
    assert "row 401: the job has no query 'q999'" in said.err
    assert "row 402: the label is outside the label set: 'weather'" in said.err
    assert "Fix: " in said.err
    assert place.rows("SELECT * FROM feedback") == []
    # When they are right, then they are stored once, and grade the answers
    given = labels(place, right)
    assert tierwise(place, "feedback", "late", given, "--json").json()["stored"] == 400
    assert tierwise(place, "feedback", "late", given, "--json").json() == {
        "job": "late", "stored": 0, "known": 400, "graded": True,
    }  # fmt: skip
    [row] = place.rows(
        "SELECT count(*) AS answers, avg(reward) FILTER (tier = 'words') AS words FROM rewards"
    )
    assert row["answers"] >= 400
    assert row["words"] == 1.0
    # When a policy learns from that job, then its version stands
    learned = tierwise(place, "learn", "epsilon-greedy", "--job", "late", "--json").json()
    assert (learned["promoted"], learned["sources"]) == (True, {"gold": learned["rows"]})
    name = learned["policy"]
    assert "it stands already" in tierwise(place, "learn", name).out
    shown = tierwise(place, "policy", "show", name).out
    assert "words keyword-1" in shown
    assert learned["version"] in tierwise(place, "policy", "history", name).out
    assert place.rows("SELECT policy, version FROM policies") == [
        {"policy": name, "version": learned["version"]}
    ]
    # And the way back
    assert "0 stands" in tierwise(place, "policy", "rollback", name).out
    drift = tierwise(place, "policy", "drift", name, "--json").json()
    assert drift["latest"] == "late"


def test_what_is_not_there_is_said_with_its_fix(place: Tierwise) -> None:
    tierwise(place, "doctor")
    for asked in (
        ("policy", "show", "thompson-none"),
        ("policy", "history", "thompson-none"),
        ("policy", "rollback", "thompson-none"),
        ("policy", "drift", "thompson-none"),
        ("learn", "thompson-none"),
        ("learn", "fixed-ladder"),
        ("learn", "thompson", "--job", "none"),
        ("feedback", "none", labels(place, [("q1", "a", "gold")])),
    ):
        assert "Fix: " in tierwise(place, *asked, code=2).err
    assert tierwise(place, "policy", "show", "--json").json() == []


def test_drift_is_an_exit_code_that_a_scheduler_reads(place: Tierwise) -> None:
    # Given two jobs, in the second of which the cheapest tier is wrong more often
    tierwise(place, "doctor")
    learner = learner_of("thompson", place.lake())

    async def rewarded() -> None:
        await reward(learner, answers(learner, "before", (0.95, 0.8, 0.9)))
        await reward(learner, answers(learner, "latest", (0.7, 0.8, 0.9), finished_at=9_000))

    asyncio.run(rewarded())
    # Then that is said, with exit code 6
    said = tierwise(place, "policy", "drift", learner.policy, "--json", code=6).json()
    assert (said["latest"], said["drifted"]) == ("latest", True)
    assert [test["name"] for test in said["tests"] if test["drifted"]] == ["t0 m0"]
    assert "drifted: True" in tierwise(place, "policy", "drift", learner.policy, code=6).out
