"""Plans that learn while they run: a new tier begins a share of them, answers change their rest, answers vote."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_learning import LABELS, PRICES, ROWS, night
from tests.jobs import model_tiers
from tests.upstream.client import start_upstream
from tests.upstream.config import UpstreamConfig

POLICY = {"name": "epsilon-greedy", "epsilon": 0.0}


def upstream(**accuracy: float) -> Any:
    return start_upstream(UpstreamConfig(rule="echo-label", labels=LABELS, accuracy=accuracy, prices=PRICES))


def first_asked(place: Tierwise, job: str) -> dict[str, int]:
    rows = place.rows(
        f"SELECT tier, count(*) AS n FROM decisions WHERE job = '{job}' AND position = 0 GROUP BY ALL"
    )
    return {row["tier"]: row["n"] for row in rows}


@pytest.mark.timeout(120)
def test_a_new_tier_is_asked_by_chance_until_it_is_known(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream(small=0.97, middle=0.8, large=0.93) as served:
        # Given a version that has learned of two tiers
        judged = {"structured": "none", "logprobs": False, "accept": 0.99, "trust": 0.6}
        two = model_tiers(served.url, PRICES, ("small", "large"), **judged)
        night(place, served, "first", policy=POLICY, tiers=two)
        # When a third stands between them, which nothing speaks for
        night(place, served, "second", policy={**POLICY, "profile": 0.2})
        # Then its share of queries is put to it first, drawn with that probability, and the rest goes its way
        asked = first_asked(place, "second")
        assert set(asked) == {"small", "middle"}
        assert 50 < asked["middle"] < 110
        routes = place.rows(
            "SELECT DISTINCT tier, route, propensity FROM decisions WHERE job = 'second' AND position = 0 ORDER BY tier"
        )
        assert [tuple(row.values()) for row in routes] == [
            ("middle", "explore", 0.2),
            ("small", "learned", 0.8),
        ]
        # And the night after, it is known and begins none
        night(place, served, "third", policy={**POLICY, "profile": 0.2})
        assert first_asked(place, "third") == {"small": ROWS}


@pytest.mark.timeout(120)
def test_answers_change_the_rest_of_a_plan_and_vote(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream(small=0.93, middle=0.8, large=0.95) as served:
        # Given a version that has learned of three tiers
        tiers = model_tiers(served.url, PRICES, tuple(PRICES), structured="none", accept=0.9)
        policy = {**POLICY, "replan": True, "profile": 0.0, "value_usd": "0.004"}
        night(place, served, "first", policy={**policy, "epsilon": 0.3}, tiers=tiers)
        [made] = place.rows("SELECT version FROM policies")
        # When it routes a night whose plans may change
        policy["name"] = f"epsilon-greedy@{made['version']}"
        night(place, served, "second", policy=policy, tiers=tiers)
        assert served.meter_total_nano() == place.money("first").spent + place.money("second").spent
        # Then answers ended some plans and led others elsewhere, and each query went the way it was told last
        decisions = place.rows("SELECT * FROM decisions WHERE job = 'second' ORDER BY query_id, position")
        assert {(row["replans"], row["propensity"]) for row in decisions} == {(True, 1.0)}
        followed = {tuple(row["tiers_replanned"]) for row in decisions if row["tiers_replanned"] is not None}
        assert () in followed
        assert len(followed) > 1
        went: dict[str, list[str]] = defaultdict(list)
        for row in decisions:
            went[row["query_id"]].append(row["tier"])
        for row in decisions:
            if row["tiers_replanned"] is not None:
                assert went[row["query_id"]][row["position"] + 1 :][:1] == row["tiers_replanned"][:1]
        # And where there were several answers, they voted
        [ended] = place.rows(
            "SELECT count(*) FILTER (reason LIKE '%fused%') AS voted, "
            "count(*) FILTER (len(tiers_asked) > 1) AS several, "
            "count(*) FILTER (NOT list_contains(tiers_asked, tier)) AS strangers "
            "FROM results WHERE job = 'second'"
        )
        assert ended["voted"] == ended["several"] > 0
        assert ended["strangers"] == 0
        # And the one who asks is told
        told = next(row["query_id"] for row in decisions if row["tiers_replanned"] == [])
        assert "replanned: no further call is worth its cost" in tierwise(place, "why", "second", told).out
        # And no plan was changed before there was a version, nor is one on the fixed ladder
        night(place, served, "ladder", policy="fixed-ladder", tiers=tiers)
        kept = place.rows("SELECT DISTINCT replans, tiers_replanned FROM decisions WHERE job <> 'second'")
        assert kept == [{"replans": False, "tiers_replanned": None}]
