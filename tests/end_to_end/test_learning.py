"""A job teaches the next one: rewards, a version, a cheaper night at the same accuracy, and the way back."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig

LABELS = ("billing", "outage", "other")
PRICES = {
    "small": {"input": "0.1", "output": "0.4"},
    "middle": {"input": "1", "output": "4"},
    "large": {"input": "5", "output": "20"},
}
ACCURACY = {"small": 0.99, "middle": 0.8, "large": 0.93}
ROWS = 400


def upstream() -> Any:
    return start_upstream(UpstreamConfig(rule="echo-label", labels=LABELS, accuracy=ACCURACY, prices=PRICES))


def night(place: Tierwise, served: Upstream, name: str, **changes: Any) -> dict[str, Any]:
    """Fresh rows, a ladder that believes nobody but its dearest tier; what the report says."""
    source = place.folder / f"{name}.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "gold"])
        for number in range(ROWS):
            gold = LABELS[number % 3]
            rows.writerow([f"q{number}", f"[gold={gold}] {name} message number {number}", gold])
    judged = {"structured": "none", "logprobs": False, "accept": 0.99, "trust": 0.6}
    tiers = model_tiers(served.url, PRICES, tuple(PRICES), **judged)
    spec = {
        "version": 1,
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": list(LABELS)},
        "input": {"path": str(source), "id": "id", "gold": "gold", "batch": {"rows": 100}},
        "tiers": tiers,
        "budget": {"usd": "5"},
        "policy": "thompson",
        **changes,
    }
    return run_spec(place, spec, name)


def routed(place: Tierwise, job: str) -> set[str]:
    found = place.rows(f"SELECT DISTINCT policy_version FROM results WHERE job = '{job}'")
    return {row["policy_version"] for row in found}


@pytest.mark.timeout(120)
def test_each_night_teaches_the_next(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a night with gold labels, on the ladder
        first = night(place, served, "first")
        [policy] = tierwise(place, "policy", "show", "--json").json()
        name = policy["policy"]
        assert routed(place, "first") == {"thompson@0"}
        # Then every answer paid for was rewarded, and a version stands
        rewards = place.rows(
            "SELECT label_source, count(*) AS n, avg(reward) AS right FROM rewards GROUP BY ALL"
        )
        [asked] = place.rows("SELECT sum(len(tiers_asked)) AS n FROM results")
        assert [(row["label_source"], row["n"]) for row in rewards] == [("gold", asked["n"])]
        assert policy["how"] == "learned"
        # When fresh rows come the next night
        second = night(place, served, "second")
        # Then they cost less, and no fewer answers are right
        assert routed(place, "second") == {f"{name}@{policy['version']}"}
        assert float(second["cost_usd"]) < 0.5 * float(first["cost_usd"])
        assert second["accuracy"] >= first["accuracy"]
        assert [row["route"] for row in first["routes"]] == ["ladder", "explore"]
        assert [row["route"] for row in second["routes"]] == ["learned", "explore"]
        assert sum(row["queries"] for row in second["routes"]) == ROWS
        metered = served.meter_total_nano()
        assert metered == place.money("first").spent + place.money("second").spent
        # And learning again from the same rewards changes nothing
        [stood] = tierwise(place, "policy", "show", "--json").json()
        assert tierwise(place, "learn", name, "--json").json()["new"] is False
        assert tierwise(place, "policy", "show", "--json").json() == [stood]
        # When the policy is rolled back to how it began, then it routes as before
        tierwise(place, "policy", "rollback", name, "0")
        third = night(place, served, "third")
        assert routed(place, "third") == {"thompson@0"}
        assert float(third["cost_usd"]) == pytest.approx(float(first["cost_usd"]), rel=0.05)
        history = tierwise(place, "policy", "history", name, "--json").json()
        assert len(history["versions"]) == 3
        assert history["promotions"][-1]["how"] == "rollback"
        assert tierwise(place, "policy", "drift", name, "--json").json()["drifted"] is False
