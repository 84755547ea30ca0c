"""What an earlier job was answered is not paid for again, and the meter is the witness."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, open_services
from schemas import lake
from schemas.ids import JobId
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

ROWS = 40
LABELS = ["billing", "refund", "other"]
PRICES = {name: {"input": "1", "output": "4"} for name in ("small", "small-2", "large")}
Spec = dict[str, Any]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Models that err now and then and say how sure they are."""
    accuracy = {"small": 0.7, "small-2": 0.7, "large": 1.0}
    config = {"rule": "echo-label", "labels": LABELS, "accuracy": accuracy, "prices": PRICES}
    with start_upstream(config_from(config)) as running:
        yield running


def spec_of(place: Tierwise, upstream: Upstream) -> Spec:
    texts = [f"message {number} [gold={LABELS[number % 3]}]" for number in range(ROWS)]
    tiers = model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.7)
    return {
        "name": "nightly",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(write_documents(place.folder / "documents.parquet", texts)), "id": "id"},
        "tiers": tiers,
        "budget": {"usd": "1"},
    }


def answers(place: Tierwise, job: str) -> list[dict[str, Any]]:
    return place.rows(
        f"SELECT query_id, answer, confidence, tier FROM results WHERE job = '{job}' ORDER BY query_id"
    )


def test_the_same_job_again_costs_nothing(place: Tierwise, upstream: Upstream) -> None:
    # Given a night's job, in which some messages climbed to the second tier
    spec = spec_of(place, upstream)
    run_spec(place, spec, "monday")
    served = upstream.stats().served
    assert served > ROWS
    # When the next night asks the same, while nothing may be spent, the limit is one call a minute and the
    # provider is down
    upstream.stop()
    spec["budget"]["usd"] = "0"
    spec["tiers"][0]["limits"] = {"requests_per_minute": 1}
    said = run_spec(place, spec, "tuesday")
    # Then it gets the same answers for nothing
    assert (said["statuses"], said["cost_usd"]) == ({"answered": ROWS}, "0.000000000")
    assert answers(place, "tuesday") == answers(place, "monday")
    assert place.money("tuesday").spent == 0
    # And says of every call whose reply it is
    calls = place.rows(
        "SELECT t.outcome, t.lane, t.cost_usd, m.job, t.query_id = m.query_id AS same "
        "FROM calls t JOIN calls m ON m.call_id = t.reused_from WHERE t.job = 'tuesday'"
    )
    assert len(calls) == served
    assert {tuple(map(str, call.values())) for call in calls} == {
        ("reused", "realtime", "0E-9", "monday", "True")
    }
    assert "reused from" in tierwise(place, "why", "tuesday", "q0").out


def _ask_otherwise(spec: Spec) -> None:
    spec["task"]["instructions"] = "Sort the mail."


def _change_a_label(spec: Spec) -> None:
    spec["task"]["labels"] = [*LABELS, "spam"]


def _change_the_model(spec: Spec) -> None:
    spec["tiers"][0]["model"] = "small-2"


def _change_a_parameter(spec: Spec) -> None:
    spec["tiers"][0]["max_output_tokens"] = 33


def _add_a_field(spec: Spec) -> None:
    spec["tiers"][0]["extra"] = {"top_p": 0.9}


def _want_fresh_answers(spec: Spec) -> None:
    spec["history"] = "none"


def _want_young_answers(spec: Spec) -> None:
    spec["history"] = {"max_age_days": 1e-9}


@pytest.mark.parametrize(
    "change",
    [
        _ask_otherwise, _change_a_label, _change_the_model, _change_a_parameter, _add_a_field,
        _want_fresh_answers, _want_young_answers,
    ],
)  # fmt: skip
def test_another_question_is_paid_for(
    place: Tierwise, upstream: Upstream, change: Callable[[Spec], None]
) -> None:
    spec = spec_of(place, upstream)
    spec["tiers"] = spec["tiers"][:1]
    run_spec(place, spec, "monday")
    change(spec)
    said = run_spec(place, spec, "tuesday")
    assert upstream.stats().served == 2 * ROWS
    assert round(float(said["cost_usd"]) * 10**9) == place.money("tuesday").spent > 0


def test_only_new_documents_are_paid_for(place: Tierwise, upstream: Upstream) -> None:
    # Given documents that were answered last night, half of which come again under other ids
    spec = spec_of(place, upstream)
    spec["tiers"] = spec["tiers"][:1]
    run_spec(place, spec, "monday")
    texts = [f"message {number} [gold=other]" for number in range(ROWS // 2, ROWS)]
    known = sum(number % 3 == 2 for number in range(ROWS // 2, ROWS))
    spec["input"]["path"] = str(write_documents(place.folder / "tuesday.parquet", texts))
    # Then the others alone are asked
    run_spec(place, spec, "tuesday")
    assert upstream.stats().served == ROWS + ROWS // 2 - known


def test_a_reply_that_does_not_parse_is_asked_for_again(place: Tierwise, tmp_path: Path) -> None:
    config = {"fixed_reply": "I would rather not.", "models": ["small", "large"], "prices": PRICES}
    with start_upstream(config_from(config)) as upstream:
        spec = spec_of(place, upstream) | {"budget": {"usd": "1", "allow": {"failed": 1}}}
        spec["tiers"] = spec["tiers"][:1]
        run_spec(place, spec, "monday")
        run_spec(place, spec, "tuesday")
        assert upstream.stats().served == 2 * ROWS


def test_near_duplicates_are_answered_once(place: Tierwise, upstream: Upstream) -> None:
    # Given messages of which some say the same with one word more, in a job that asks for copies
    text = (
        "The parcel with the blue lamp I ordered in May from the shop in town has not arrived [gold=refund]"
    )
    texts = [text, f"{text} yet", "Please send the bill of last month again [gold=billing]", text.upper()]
    spec = spec_of(place, upstream) | {"history": {"near_duplicates": 0.9}}
    spec["input"]["path"] = str(write_documents(place.folder / "alike.parquet", texts))
    spec["tiers"] = [spec["tiers"][1]]
    run_spec(place, spec, "monday")
    # Then two are asked, the others say whose answer they copied and cost nothing
    assert upstream.stats().served == 2
    said = place.rows("SELECT query_id, answer, reason, cost_usd FROM results ORDER BY query_id")
    assert [row["answer"] for row in said] == ["refund", "refund", "billing", "refund"]
    assert said[1]["reason"].startswith("near-duplicate of q0 (cosine 0.9")
    assert [row["cost_usd"] > 0 for row in said] == [True, False, True, False]
    copies = place.rows("SELECT * FROM calls WHERE outcome = 'reused'")
    assert {(call["query_id"], call["cost_usd"]) for call in copies} == {("q1", 0), ("q3", 0)}
    # And the next night copies from the closed job
    spec["input"]["path"] = str(write_documents(place.folder / "later.parquet", [f"{text} still"]))
    said = run_spec(place, spec, "tuesday")
    assert (upstream.stats().served, said["cost_usd"]) == (2, "0.000000000")
    assert "near-duplicate of q0 of monday" in tierwise(place, "why", "tuesday", "q0").out


def test_near_duplicates_are_for_classes_alone(place: Tierwise, upstream: Upstream) -> None:
    spec = spec_of(place, upstream) | {"history": {"near_duplicates": 0.9}, "task": {"kind": "answer"}}
    said = tierwise(place, "run", write_spec(place, spec), code=2)
    assert "history.near_duplicates" in said.err


def test_what_was_answered_before_is_shown(place: Tierwise, upstream: Upstream) -> None:
    # Given a closed job and one that shows two of its documents to the models
    spec = spec_of(place, upstream)
    spec["tiers"] = [spec["tiers"][1]]
    run_spec(place, spec, "monday")
    run_spec(place, spec | {"history": {"examples": 2}}, "tuesday")
    # Then every call is a new one, longer by two messages and their answers
    tokens = place.rows(
        "SELECT job, sum(input_tokens) AS n, count(*) AS calls FROM calls GROUP BY job ORDER BY job"
    )
    assert [row["calls"] for row in tokens] == [ROWS, ROWS]
    assert tokens[1]["n"] > tokens[0]["n"] + 2 * ROWS
    assert upstream.stats().served == 2 * ROWS
    assert [row["answer"] for row in answers(place, "tuesday")] == [
        row["answer"] for row in answers(place, "monday")
    ]


def test_what_is_shown_is_pinned_at_submit(place: Tierwise, upstream: Upstream) -> None:
    # Given a job that was submitted after one had closed, and left alone until another had
    spec = spec_of(place, upstream)
    spec["tiers"] = [spec["tiers"][1]]
    run_spec(place, spec, "monday")
    submit(place, spec | {"history": {"examples": 2}}, "tuesday")
    run_spec(place, spec | {"history": "none"}, "wednesday")
    # When it is worked on at last, then it looks back at what it could see at its submission
    tierwise(place, "resume", "tuesday")
    pinned = pq.read_table(place.folder / "lake" / lake.past(JobId("tuesday")))
    assert (set(pinned["job"].to_pylist()), pinned.num_rows) == ({"monday"}, ROWS)
    assert len(answers(place, "tuesday")) == ROWS


def submit(place: Tierwise, spec: Spec, job: str) -> None:
    """Enter a job that nobody works on yet."""

    async def enter() -> None:
        settings = Settings(lake=str(place.folder / "lake"), ledger=place.ledger_url())
        services = await open_services(settings)
        try:
            await create_job(services, await read_spec(Path(write_spec(place, spec))), JobId(job))
        finally:
            await close_services(services)

    asyncio.run(enter())
