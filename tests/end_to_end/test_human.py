"""A job that is certified by people: it runs, waits for the labels of the drawn rows, and is tested on them."""

import asyncio
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.labels import AUDIT, Label, Labels
from pipeline.storage import open_storage
from schemas.ids import JobId
from tests.end_to_end.command import Tierwise, workers
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers
from tests.services import RABBITMQ, broker_queue, postgresql_schema
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import UpstreamConfig

pytestmark = pytest.mark.usefixtures("one_draw")
LABELS = ("billing", "outage", "other")
PRICES = {"small": {"input": "0.1", "output": "0.4"}, "large": {"input": "5", "output": "20"}}
ROWS, AUDIT_ROWS = 300, 100
ALLOWED = {"rejected": 0.1}
GOLD = re.compile(r"\[gold=(\w+)\]")


@pytest.fixture
def served() -> Iterator[Upstream]:
    config = UpstreamConfig(
        rule="echo-label", labels=LABELS, accuracy={"small": 0.9, "large": 0.99}, prices=PRICES
    )
    with start_upstream(config) as upstream:
        yield upstream


def spec_of(place: Tierwise, served: Upstream, **quality: Any) -> dict[str, Any]:
    with (place.folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        for number in range(ROWS):
            text = (
                f"[gold={LABELS[number % 3]}] message number {number}" if number else ""
            )  # the first is rejected
            table.writerow([f"q{number}", text])
    return {
        "version": 1,
        "name": "j",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": list(LABELS)},
        "input": {"path": "rows.csv", "id": "id", "batch": {"rows": 100}},
        "tiers": [
            {**tier, "accept": accept}
            for tier, accept in zip(
                model_tiers(served.url, PRICES, tuple(PRICES), structured="none"), (0.9, 0.5), strict=True
            )
        ],
        "budget": {"usd": "5", "allow": ALLOWED},
        "quality": {"target": 0.9, "reference": "human", "audit": AUDIT_ROWS, **quality},
    }


def right(row: dict[str, str]) -> str:
    [gold] = GOLD.findall(row["text"])
    return str(gold)


def wrong(row: dict[str, str]) -> str:
    return LABELS[(LABELS.index(right(row)) + 1) % 3]


def exported(place: Tierwise, name: str, *more: str) -> list[dict[str, str]]:
    tierwise(place, "review", "export", "j", "-o", name, *more)
    with (place.folder / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def hand_in(
    place: Tierwise, rows: list[dict[str, str]], say: Callable[[dict[str, str]], str], reviewer: str = "ann"
) -> dict[str, Any]:
    with (place.folder / "given.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query_id", "label"])
        table.writerows((row["query_id"], say(row)) for row in rows)
    said: dict[str, Any] = tierwise(
        place, "review", "import", "j", "given.csv", "--reviewer", reviewer, "--json"
    ).json()
    return said


def certificate(place: Tierwise) -> dict[str, Any]:
    [row] = place.rows("FROM certificates")
    return row


def test_a_job_is_certified_once_people_have_labelled_every_drawn_row(
    place: Tierwise, served: Upstream
) -> None:
    # When a job with people as its reference is run
    said = tierwise(place, "run", write_spec(place, spec_of(place, served)), "--job", "j")
    # Then it ends well under the ladder as stated, nothing was asked for an audit, and its certificate waits
    drawn = place.rows("SELECT query_id, status FROM drawn JOIN results USING (job, query_id)")
    assert len(drawn) == AUDIT_ROWS
    readable = sum(row["status"] != "rejected" for row in drawn)
    waits = f"0 of {readable} drawn rows are labelled: `tierwise review serve j`"
    assert f"Pending (90% agreement with people's labels): {waits}" in said.out
    assert "Plan: small from 0.90 > large" in said.out
    assert place.rows("SELECT DISTINCT purpose FROM calls") == [{"purpose": "answer"}]
    shown = tierwise(place, "report", "j", "--json").json()["certificate"]
    assert (shown["state"], shown["certified"], shown["agreeing"], shown["accuracy"]) == (
        "pending", False, None, None
    )  # fmt: skip
    [plan] = place.rows("SELECT DISTINCT policy_version FROM results WHERE status = 'answered'")
    assert plan["policy_version"] in shown["plan"]
    # And the queue holds the drawn rows first, with nothing that leads a reviewer
    listed = tierwise(place, "review", "list", "j", "--json").json()
    assert (listed["drawn"], listed["labelled"]) == (readable, 0)
    rows = exported(place, "audit.csv", "--audit")
    assert len(rows) == readable
    hidden = ("answer", "confidence", "candidates", "cost_usd", "reviewed_label")
    assert {row[name] for row in rows for name in hidden} == {""}
    # When half of the labels are in, then the rest is waited for
    half = hand_in(place, rows[:50], right)
    assert (half["stored"], half["certificate"]["state"]) == (50, "pending")
    assert half["certificate"]["labelled"] == 50
    # When all are, then the plan is tested on all that was drawn; the labels name what selected the rows
    whole = hand_in(place, rows[50:], right)["certificate"]
    agreeing = place.rows(
        "SELECT count(*) AS n FROM drawn JOIN results USING (job, query_id) "
        "WHERE answer = label AND status = 'answered'"
    )
    assert (whole["state"], whole["agreeing"]) == ("certified", agreeing[0]["n"])
    assert whole["p_value"] <= 0.05
    assert whole["accuracy_low"] < whole["accuracy"] < 1
    assert place.rows("SELECT DISTINCT selected_by, score FROM feedback") == [
        {"selected_by": "audit", "score": None}
    ]
    assert tierwise(place, "certify", "j").out.startswith("Certified: at least 90% agreement with people's")
    # And handing the same labels in again changes nothing
    before = certificate(place)
    again = hand_in(place, rows, right)
    assert (again["stored"], again["known"]) == (0, readable)
    assert certificate(place) == before
    # And no drawn row has taught anything
    assert place.rows("SELECT count(*) AS n FROM rewards JOIN drawn USING (job, query_id)") == [{"n": 0}]
    assert place.rows("SELECT count(*) > 0 AS n FROM rewards") == [{"n": True}]

    # When a second person labels some rows, then it is told how often the two agree
    def other(row: dict[str, str]) -> str:
        return wrong(row) if row in rows[:5] else right(row)

    twice = hand_in(place, rows[:20], other, "bob")["certificate"]
    assert (twice["repeated"], twice["self_agreement"], twice["labelled"]) == (20, 0.75, readable)
    # When one label is withdrawn, then the certificate waits again, unless nobody is waited for
    asyncio.run(withdraw(place, rows[0]["query_id"]))
    tierwise(place, "certify", "j")
    assert (certificate(place)["pending"], certificate(place)["labelled"]) == (True, readable - 1)
    assert certificate(place)["p_value"] is None
    counted = tierwise(place, "certify", "j", "--now", "--json", code=None).json()
    assert (counted["pending"], counted["agreeing"]) == (False, agreeing[0]["n"] - 5)


async def withdraw(place: Tierwise, query_id: str) -> None:
    storage = open_storage(place.environment()["TIERWISE_LAKE"])
    given = Labels(storage, JobId("j"))
    await given.keep([Label(query_id, None, "human", reviewer="bob", selected_by=AUDIT)], 1)
    await storage.close()


def test_what_people_see_otherwise_is_not_certified(place: Tierwise, served: Upstream) -> None:
    tierwise(place, "run", write_spec(place, spec_of(place, served)), "--job", "j")
    rows = exported(place, "audit.csv", "--audit")
    # Given people who find one answer in five wrong
    said = hand_in(place, rows, lambda row: wrong(row) if rows.index(row) % 5 == 0 else right(row))
    # Then no certificate is issued, its reason names what is certain, and the command says so by its exit code
    assert said["certificate"]["state"] == "withheld"
    found = tierwise(place, "certify", "j", code=7).out
    assert re.search(
        r"Not certified \(90% .*: \d\d of 100 drawn rows agree, at confidence 95% \d\d\.\d% of all", found
    )
    assert said["certificate"]["sure"] < 0.9
    # And where they see it otherwise is a ready question
    named = tierwise(place, "query", "disagreements", "--job", "j", "--limit", "999", "--json").json()
    assert len(named) == len(rows) - said["certificate"]["agreeing"]
    assert all(row["answer"] != row["reference"] for row in named)


def test_labels_that_were_given_by_any_other_way_certify_nothing(place: Tierwise, served: Upstream) -> None:
    tierwise(place, "run", write_spec(place, spec_of(place, served)), "--job", "j")
    rows = exported(place, "audit.csv", "--audit")
    with (place.folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("query_id", "label"), *((row["query_id"], right(row)) for row in rows)])
    tierwise(place, "feedback", "j", "labels.csv")
    assert tierwise(place, "certify", "j", "--json").json()["labelled"] == 0
    # And the rows are still offered to reviewers
    assert len(exported(place, "again.csv", "--audit")) == len(rows)
    # And what a reviewer says stands whatever is fed back later
    hand_in(place, rows, wrong)
    tierwise(place, "feedback", "j", "labels.csv")
    assert tierwise(place, "certify", "j", "--json", code=7).json()["agreeing"] < 20


def test_people_as_reference_are_no_quote_and_no_measure(place: Tierwise, served: Upstream) -> None:
    path = write_spec(place, spec_of(place, served))
    assert "nobody's labels are known before the job" in tierwise(place, "quote", path, code=2).err
    assert tierwise(place, "estimate", path, "--json").json()["audit_usd"] == "0.000000000"
    path = write_spec(place, spec_of(place, served, target=None))
    assert "Give a target" in tierwise(place, "run", path, code=2).err
    assert "no job" in tierwise(place, "certify", "j", code=2).err.lower()


def test_other_certificates_wait_for_nobody(place: Tierwise, served: Upstream) -> None:
    spec = spec_of(place, served) | {"quality": None}
    tierwise(place, "run", write_spec(place, spec), "--job", "j")
    assert "does not wait for people" in tierwise(place, "certify", "j", code=2).err


def test_rows_that_money_did_not_reach_are_off_plan_until_they_are_resumed(
    place: Tierwise, served: Upstream
) -> None:
    # Given a job that ran out of money, with every drawn row labelled
    spec = spec_of(place, served) | {"budget": {"usd": "0.01", "when_short": "first_come", "allow": ALLOWED}}
    tierwise(place, "run", write_spec(place, spec), "--job", "j", code=3)
    rows = exported(place, "audit.csv", "--audit")
    said = hand_in(place, rows, right)["certificate"]
    # Then it is not certified, and told what would mend that
    assert said["state"] == "withheld"
    assert "did not end under the certified plan, 0.00% may; `tierwise resume`" in said["reason"]
    # When it goes on, then it closes with its certificate, under the same plan
    tierwise(place, "resume", "j", "--add-budget", "5")
    row = certificate(place)
    assert (row["certified"], row["generation"], row["off_plan"]) == (True, 2, 0)
    assert row["plan"] == said["plan"]


@pytest.mark.timeout(120)
def test_workers_begin_at_once(tmp_path: Path, served: Upstream) -> None:
    with (
        postgresql_schema() as ledger,
        broker_queue("RabbitMQ", RABBITMQ) as queue,
    ):
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue}
        place = Tierwise(folder=tmp_path, settings=settings)
        with workers(place, 1):
            tierwise(place, "submit", write_spec(place, spec_of(place, served)), "--job", "j")
            said = tierwise(place, "status", "j", "--json").json()["audit"]
            assert (said["kind"], said["said"]) == ("stated", "the job runs under small > large")
            place.wait_closed("j")
        assert certificate(place)["pending"]
