"""Each label of a job can be certified by itself: rows of it are drawn when all is answered."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise, kill_when
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_certificate import ACCURACY, LABELS, ROWS, run, spec_of, upstream
from tests.upstream.config import UpstreamConfig
from tests.upstream.rule import EchoLabel

BATCHES = ROWS // 100 + 1  # committed before the labels', the first audit's among them
pytestmark = pytest.mark.usefixtures("one_draw")


def truth(place: Tierwise) -> dict[str, tuple[int, int]]:
    """Rows of each label, and how many the reference answers alike; asked of nobody."""
    large = EchoLabel(labels=LABELS, accuracy=ACCURACY, seed=UpstreamConfig.seed)
    counted = dict.fromkeys(LABELS, (0, 0))
    for row in place.rows("SELECT d.text, r.answer FROM results r JOIN documents d USING (job, query_id)"):
        rows, agree = counted[row["answer"]]
        counted[row["answer"]] = rows + 1, agree + (large.find("large", row["text"]).content == row["answer"])
    return counted


def claims_of(place: Tierwise) -> dict[str, Any]:
    [row] = place.rows("SELECT labels FROM certificates")
    said: dict[str, Any] = json.loads(row["labels"])
    return said


@pytest.mark.timeout(120)
def test_each_label_has_its_certificate(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a job whose labels are to be certified at 85 % each, beside the whole
        spec = spec_of(place, served, "each", per_label={"target": 0.85, "audit": 40})
        # When it is run
        said = tierwise(place, "run", write_spec(place, spec), "--job", "each")
        # Then every label has its claim, with the evidence, and it holds
        claims = claims_of(place)
        assert (claims["target"], claims["delta"], claims["reason"]) == (0.85, 0.05, "")
        assert [claim["stratum"]["label"] for claim in claims["claims"]] == sorted(LABELS)
        true = truth(place)
        for claim in claims["claims"]:
            each = claim["stratum"]
            rows, agree = true[each["label"]]
            assert each["rows"] == rows
            assert each["sure"] + each["agreeing"] <= agree
            assert not claim["certified"] or agree >= 0.85 * rows
        assert any(claim["certified"] for claim in claims["claims"])
        # And it is said on the terminal and in the report
        assert "Labels certified, " in said.out
        tierwise(place, "report", "each", "-o", "page.html")
        assert "Certificate by label" in (tmp_path / "page.html").read_text()
        # And the reference was asked about the drawn rows alone, once, beside what the audit and the plan asked
        drawn = sum(claim["stratum"]["drawn"] for claim in claims["claims"])
        asked = place.rows("SELECT tier, count(*) AS n FROM calls WHERE purpose = 'stratum' GROUP BY ALL")
        assert asked == ([{"tier": "large", "n": drawn}] if drawn else [])
        twice = place.rows(
            "SELECT query_id FROM calls WHERE cost_usd > 0 GROUP BY query_id, tier HAVING count(*) > 1"
        )
        assert twice == []
        assert place.money("each").spent == served.meter_total_nano()


@pytest.mark.timeout(120)
def test_labels_wait_until_no_row_can_change_any_more(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given money for the audit, and not for all rows after it
        spec = spec_of(place, served, "later", target=0.97, per_label=40)
        spec["budget"] = {"usd": "0.165"}  # the audit costs 0.145, all rows 0.188
        said = run(place, spec, code=3)
        # When some end as deferred, then no label is drawn from yet
        assert said["statuses"].get("deferred"), said["cost_usd"]
        assert "deferred or cancelled" in claims_of(place)["reason"]
        assert claims_of(place)["claims"] == []
        # When the others are answered too, then they are
        tierwise(place, "resume", "later", "--add-budget", "5", "--json", code=None)
        assert [claim["stratum"]["unasked"] for claim in claims_of(place)["claims"]] == [0, 0, 0]


@pytest.mark.timeout(120)
def test_money_that_ends_among_the_labels_is_no_second_draw(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given money for the audit and all rows after it, and not for the labels
        spec = spec_of(place, served, "later", target=0.9, per_label=40)
        spec["budget"] = {"usd": "0.165"}  # audit and rows cost 0.148, the labels 0.05 more
        run(place, spec)
        assert "exhausted" in claims_of(place)["reason"]
        first = claims_of(place)["claims"]
        assert sum(claim["stratum"]["unasked"] for claim in first) > 0
        # Then they are asked with more of it, from where it was
        tierwise(place, "resume", "later", "--add-budget", "5", "--json")
        last = claims_of(place)["claims"]
        assert [claim["stratum"]["unasked"] for claim in last] == [0, 0, 0]
        assert [c["stratum"]["drawn"] for c in first] == [c["stratum"]["drawn"] for c in last]
        assert all(
            a["stratum"]["agreeing"] <= b["stratum"]["agreeing"] for a, b in zip(first, last, strict=True)
        )
        assert [claim["stratum"]["rows"] for claim in claims_of(place)["claims"]] == [
            truth(place)[label][0] for label in sorted(LABELS)
        ]
        assert place.money("later").spent == served.meter_total_nano()
        # And resuming what is done changes nothing
        before = claims_of(place)
        tierwise(place, "resume", "later", "--json")
        assert claims_of(place) == before


@pytest.mark.timeout(120)
def test_a_second_audit_that_is_killed_asks_nothing_twice(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream(latency_ms=20) as served:
        # Given a job that is killed while it asks about the labels' rows
        spec = spec_of(place, served, "killed", target=0.9, per_label={"target": 0.95, "audit": 90})
        for tier in spec["tiers"]:
            tier["max_concurrency"] = 8
        running = place.start("run", write_spec(place, spec), "--job", "killed")
        commits, before = tmp_path / "lake" / "_commits" / "killed" / "1", list[int]()

        def in_its_midst() -> bool:
            if len(list(commits.glob("*.json"))) == BATCHES:
                before.append(served.stats().served)
            return bool(before) and before[-1] > before[0] + 20

        kill_when(running, in_its_midst)
        # When it is resumed
        tierwise(place, "resume", "killed", "--json")
        # Then the labels are tested, and what was journalled was not asked again
        assert claims_of(place)["claims"]
        presumed = place.rows("SELECT count(*) AS n FROM calls WHERE presumed")[0]["n"]
        distinct = place.rows(
            "SELECT count(DISTINCT request_hash) AS n FROM calls WHERE cost_usd > 0 AND NOT presumed"
        )
        assert served.stats().metered - distinct[0]["n"] <= presumed <= 3 * 2 * 8
        assert served.meter_total_nano() <= place.money("killed").spent


def test_labels_need_a_target_labels_and_a_reference_that_can_be_asked(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        spec = spec_of(place, served, "wrong", reference="human", per_label=10)
        assert (
            "people label rows drawn from all" in tierwise(place, "run", write_spec(place, spec), code=2).err
        )
        spec["quality"] = {"reference": "large", "per_label": 10}
        assert "per_label needs a target" in tierwise(place, "run", write_spec(place, spec), code=2).err
        spec["quality"] = {"target": 0.9, "reference": "large", "per_label": 10}
        spec["task"] = {"kind": "extract", "schema": {"type": "object"}}
        assert "no labels or choices" in tierwise(place, "run", write_spec(place, spec), code=2).err


def test_of_gold_that_is_there_each_label_is_counted_whole(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given gold of every row as the reference
        run(place, spec_of(place, served, "counted", target=0.8, reference="gold", per_label={"target": 0.9}))
        # Then nothing is drawn or asked: what is certified of a label is what is true of it
        true = place.rows(
            "SELECT answer, count(*) AS n, sum((answer = gold)::INT) AS good "
            "FROM results JOIN documents USING (query_id) GROUP BY answer ORDER BY answer"
        )
        claims = claims_of(place)["claims"]
        assert [claim["stratum"]["label"] for claim in claims] == [row["answer"] for row in true]
        for claim, row in zip(claims, true, strict=True):
            each = claim["stratum"]
            assert (each["rows"], each["known"], each["sure"], each["drawn"]) == (
                row["n"],
                row["n"],
                row["good"],
                0,
            )
            assert claim["certified"] == (row["good"] >= 0.9 * row["n"])
        assert place.rows("SELECT count(*) AS n FROM calls WHERE purpose = 'stratum'") == [{"n": 0}]
