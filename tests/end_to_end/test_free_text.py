"""Answers in free text are certified by a judge's word on whether they say what the reference says."""

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise, kill_when
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_certificate import ACCURACY, AUDIT, LABELS, PILOT, PRICES, ROWS, paid_calls, run
from tests.end_to_end.test_certificate import spec_of as classify_spec
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig
from tests.upstream.rule import FreeText

pytestmark = pytest.mark.usefixtures("one_draw")


def upstream(**behaviour: Any) -> Any:
    config = UpstreamConfig(rule="free-text", labels=LABELS, accuracy=ACCURACY, prices=PRICES, **behaviour)
    return start_upstream(config)


def spec_of(place: Tierwise, served: Upstream, name: str, **quality: Any) -> dict[str, Any]:
    spec = classify_spec(place, served, name, **{"judge": "middle", **quality})
    task = {"kind": "answer", "instructions": "What is the message about?", "max_output_tokens": 40}
    return spec | {"task": task}


def meaning(text: str) -> str:
    [label] = [label for label in LABELS if label in text]
    return label


@pytest.mark.timeout(120)
def test_answers_that_say_the_same_in_other_words_are_certified(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a job of free answers, no two tiers with the same words
        spec = spec_of(place, served, "said")
        # When it is run
        said = tierwise(place, "run", write_spec(place, spec), "--job", "said")
        # Then it is certified by the word of the judge that is named
        assert "at least 93% agreement with large as judged by same-answer@1 on middle" in said.out
        [row] = place.rows("FROM certificates")
        assert (row["certified"], row["judge"], row["off_plan"]) == (True, "same-answer@1 on middle", 0)
        assert 0 < row["judged"] <= 2 * (PILOT + AUDIT)
        # And it holds: so many rows mean what the reference means, which answers none of them in these words
        large = FreeText(labels=LABELS, accuracy=ACCURACY, seed=UpstreamConfig.seed)
        rows = place.rows("SELECT d.text, r.answer, r.tier FROM results r JOIN documents d USING (query_id)")
        theirs = [large.find("large", each["text"]).content for each in rows]
        alike = [meaning(each["answer"]) == meaning(one) for each, one in zip(rows, theirs, strict=True)]
        assert sum(alike) >= 0.93 * ROWS
        assert sum(each["answer"] == one for each, one in zip(rows, theirs, strict=True)) < 0.8 * ROWS
        # And the judge was asked about each pair once, is paid for in the audit, and nothing is off the books
        assert paid_calls(place, "judge") == row["judged"]
        assert place.money("said").spent == served.meter_total_nano()
        # And what differs in words alone is no disagreement
        wrong = tierwise(place, "query", "disagreements", "--job", "said", "--limit", "999", "--json").json()
        assert all(meaning(each["answer"]) != meaning(each["reference"]) for each in wrong)
        assert 0 < len(wrong) < 0.2 * (PILOT + AUDIT)


@pytest.mark.timeout(120)
def test_what_says_something_else_is_refused(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given tiers that are right in 93 % of cases at best, held against gold by a judge
        spec = spec_of(place, served, "beyond", target=0.99, reference="gold")
        spec["tiers"] = spec["tiers"][:2]
        # When 99 % are asked for
        said = run(place, spec, code=7)
        # Then the answer is no, with what can be had, which is more than equal words would make it
        assert "99% agreement" in said["certificate"]["reason"].replace("99.0%", "99%")
        assert 0.85 < said["certificate"]["sure"] < 0.99
        assert paid_calls(place, "answer") == 0
        assert place.money("beyond").spent == served.meter_total_nano()


def test_a_pair_without_a_verdict_disagrees(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        # Given a fifth of the documents about which the judge says nothing that can be read
        spec = spec_of(place, served, "unclear", target=0.5)
        source = tmp_path / "unclear.csv"
        head, *lines = source.read_text().splitlines()
        lines = [
            line if at % 5 else line.replace("message", "unclear message") for at, line in enumerate(lines)
        ]
        source.write_text("\n".join([head, *lines]))
        # When the job is run
        said = run(place, spec)
        # Then these pairs are counted, and disagree: only the reference itself agrees there
        certificate = said["certificate"]
        assert certificate["unread"] > 0.1 * certificate["judged"]
        [row] = place.rows(
            "SELECT count(*) AS n FROM results r JOIN documents d USING (query_id), certificates c "
            "WHERE d.text LIKE '%unclear%' AND r.tier <> 'large' AND list_contains(c.alike, r.query_id)"
        )
        assert row["n"] == 0


@pytest.mark.timeout(120)
def test_verdicts_that_were_given_are_not_asked_for_again(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream(latency_ms=20) as served:
        # Given a job that is killed while the judge is asked, after all tiers were
        spec = spec_of(place, served, "killed", target=0.9)
        for tier in spec["tiers"]:
            tier["max_concurrency"] = 8
        running = place.start("run", write_spec(place, spec), "--job", "killed")
        asked = 3 * (PILOT + AUDIT)
        kill_when(running, lambda: served.stats().served > asked + 100)
        # When it is resumed
        said = tierwise(place, "resume", "killed", "--json").json()
        # Then it is certified, and at most the calls in flight were paid for in vain
        assert said["certificate"]["certified"]
        presumed = place.rows("SELECT count(*) AS n FROM calls WHERE presumed")[0]["n"]
        distinct = place.rows(
            "SELECT count(DISTINCT request_hash) AS n FROM calls WHERE cost_usd > 0 AND NOT presumed"
        )
        assert served.stats().metered - distinct[0]["n"] <= presumed <= 3 * 2 * 8
        assert served.meter_total_nano() <= place.money("killed").spent


def test_free_text_is_quoted_with_its_judge(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        spec = spec_of(place, served, "priced")
        # When the job is quoted
        said = tierwise(place, "quote", write_spec(place, spec), "--json").json()
        # Then the pilot is judged too, and what the judge costs is in the price
        assert max(offer["agreement"] for offer in said["offers"]) > 0.95
        rows = place.rows("SELECT purpose, sum(cost_usd) AS usd FROM calls GROUP BY purpose")
        usd = {row["purpose"]: float(row["usd"]) for row in rows}
        assert usd["judge"] > 0
        plan = said["wanted"]["cost"] - said["audit_cost"]  # of the whole job, nothing audited
        whole = (usd["audit"] + usd["judge"]) / PILOT * (PILOT + AUDIT)
        assert said["audit_cost"] == pytest.approx(whole - plan * (PILOT + AUDIT) / ROWS)
        # And an estimate counts it
        path = write_spec(place, spec)
        estimated = float(tierwise(place, "estimate", path, "--json").json()["audit_usd"])
        assert estimated > usd["judge"]


def test_free_text_needs_a_judge_that_can_be_asked(tmp_path: Path) -> None:
    place = Tierwise(folder=tmp_path)
    with upstream() as served:
        for quality, why in (
            ({"judge": None}, "free text agrees with nothing word for word"),
            ({"judge": "huge"}, "huge is above the reference"),
            ({"judge": "nobody"}, "there is no tier 'nobody'"),
            ({"reference": "human"}, "a judge has not read what people wrote"),
        ):
            path = write_spec(place, spec_of(place, served, "wrong", **quality))
            assert why in tierwise(place, "run", path, code=2).err
        path = write_spec(place, classify_spec(place, served, "wrong", judge="large"))
        assert "agree where they are equal" in tierwise(place, "run", path, code=2).err
