"""The join: which label grades an answer, what it weighs, and that nothing is written twice."""

import io
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.feedback import give_feedback
from pipeline.labels import Label, Labels
from pipeline.learning.learner import Learner
from pipeline.learning.rewards import JUDGES_WEIGHT, final_tables, grade, reward_files
from pipeline.storage.final import write_final
from pipeline.wiring.work import open_learner
from schemas.errors import FeedbackError
from schemas.ids import TierName
from schemas.job import Task
from tests.contract.storage.rows import filled
from tests.faults.desk import JOB, Desk, Meter, Said, tier
from workers.inline import work_inline

TEXTS = ["one", "two", "one", "three"]


async def closed(**given: Any) -> tuple[Desk, Learner, Task]:
    """A job of two tiers that both say "a", of which only the last is believed."""
    desk = await Desk(**given).open([TEXTS], tiers=2)
    work = await desk.start()
    await work_inline(work)
    return desk, await open_learner(work.services, JOB, "thompson"), work.spec.task


async def rewards(learner: Learner) -> list[dict[str, Any]]:
    keys = await reward_files(learner.storage, learner.scope)
    return [
        row for key in keys for row in pq.read_table(io.BytesIO(await learner.storage.read(key))).to_pylist()
    ]


async def graded(learner: Learner) -> list[dict[str, Any]]:
    """What is news, written and read again."""
    before = await rewards(learner)
    key = await grade(learner, final_tables(JOB))
    return [row for row in await rewards(learner) if row not in before] if key else []


async def test_what_judges_believe_weighs_little_and_repeats_are_not_paid_for() -> None:
    _, learner, _ = await closed()
    found = await graded(learner)
    assert [(row["query_id"], row["tier"], row["model"]) for row in found] == [
        (query, tier, "m") for query in ("q0", "q1", "q3") for tier in ("t0", "t1")
    ]
    for row in found:
        assert (row["label_source"], row["weight"]) == ("judges", JUDGES_WEIGHT)
        assert 0.5 < row["reward"] < 1
        assert row["stands"] == (row["tier"] == "t1")
        assert row["tiers_left"] == ([] if row["tier"] == "t0" else ["t0 m"])
        assert (row["input_tokens"], row["propensity"], row["tiers_planned"]) == (40, 1.0, ["t0", "t1"])
        assert len(row["features"]) == learner.features.dimensions
    # And graded again, nothing is news
    assert await graded(learner) == []


async def test_one_label_grades_every_answer_of_its_query() -> None:
    # Given gold for all queries and, for one of them, a person who disagrees
    desk, learner, task = await closed()
    labels = dict(zip(("q0", "q1", "q2", "q3"), "abab", strict=True))
    gold = [{"query_id": query, "label": label, "source": "gold"} for query, label in labels.items()]
    await give_feedback(desk.storage, JOB, task, [{"query_id": "q1", "label": "a"}], 2_000_000)
    await graded(learner)
    await give_feedback(desk.storage, JOB, task, gold, 3_000_000)
    # When it is graded, then both tiers' answers are right or wrong by gold
    found = await graded(learner)
    assert {(row["query_id"], row["tier"]): row["reward"] for row in found} == {
        (query, tier): float(labels[query] == "a") for query in ("q0", "q1", "q3") for tier in ("t0", "t1")
    }
    # And since all were labelled, nobody chose which
    assert {(row["label_source"], row["p_labelled"], row["weight"]) for row in found} == {("gold", 1.0, 1.0)}


async def test_queries_drawn_for_people_to_label_grade_nothing() -> None:
    desk, learner, task = await closed()
    drawn = filled("certificates", ["-"], job=JOB, drawn=["q1"])
    await write_final(desk.storage, "certificates", JOB, drawn)
    labels = [{"query_id": query, "label": "a"} for query in ("q0", "q1")]
    await give_feedback(desk.storage, JOB, task, labels, 2_000_000)
    assert {row["query_id"] for row in await graded(learner)} == {"q0", "q3"}


async def test_labels_for_some_queries_say_nothing_of_how_they_were_chosen() -> None:
    desk, learner, task = await closed()
    await give_feedback(desk.storage, JOB, task, [{"query_id": "q1", "label": "b"}], 2_000_000)
    by_source = {row["label_source"]: row for row in await graded(learner)}
    assert by_source["human"]["p_labelled"] is None
    assert by_source["human"]["reward"] == 0.0
    assert by_source["judges"]["p_labelled"] == 1.0


async def test_replies_that_are_no_answer_count_and_calls_without_a_reply_do_not() -> None:
    # Given a first call that is malformed and a second that is cut, and nothing tried twice
    desk = Desk(meter=Meter(script=lambda number: Said({0: "malformed", 1: "cut"}.get(number, "ok"))))
    await desk.open([["one", "two", "three"]], tiers=[tier(0, retries=0), tier(1, retries=0)])
    work = await desk.start()
    await work_inline(work)
    # When their queries are graded
    found = await graded(await open_learner(work.services, JOB, "thompson"))
    # Then the first counts as wrong, and the second not at all
    lost = {call.call_id for call in await desk.calls() if call.presumed}
    assert lost
    assert lost.isdisjoint(row["call_id"] for row in found)
    assert [row["reward"] for row in found if row["answer"] is None] == [0.0]


async def test_what_is_kept_from_a_student_is_no_mistake_of_its() -> None:
    # Given a student that has no answer to its first query
    desk = Desk(meter=Meter(script=lambda number: Said("ok" if number else "malformed")))
    await desk.open([["one", "two", "three"]], tiers=[tier(0, retries=0), tier(1, retries=0)])
    work = await desk.start()
    work.asking.rungs[TierName("t0")].provider.model = "student-1"
    await work_inline(work)
    # When its queries are graded, then the tier above is graded on all of them, the student on the others
    found = await graded(await open_learner(work.services, JOB, "thompson"))
    assert [row["model"] for row in found].count("student") == 2
    assert len(found) == 5


async def test_feedback_is_checked_whole_and_kept_once() -> None:
    desk, _, task = await closed()
    bad = [
        {"query_id": "q0", "label": "a"},
        {"query_id": "q9", "label": "a"},
        {"query_id": "q1", "label": "c"},
        {"query_id": "q0", "label": "b"},
        {"query_id": "q2", "label": "a", "source": "guess"},
        {"label": "a"},
    ]
    before = dict(desk.objects)
    with pytest.raises(FeedbackError) as caught:
        await give_feedback(desk.storage, JOB, task, bad, 2_000_000)
    # Every mistake is said, and nothing was stored
    said = str(caught.value)
    for piece in ("row 2: the job has no query 'q9'", "row 3: the label is outside", "row 4: 'q0' was given another",
                  "row 5: source 'guess'", "row 6: no query_id"):  # fmt: skip
        assert piece in said
    assert desk.objects == before
    with pytest.raises(FeedbackError, match="there are none"):
        await give_feedback(desk.storage, JOB, task, [], 2_000_000)
    # What is right is stored in the task's own form, and given again it changes nothing
    assert [each.label for each in await give_feedback(desk.storage, JOB, task, bad[:1], 2_000_000)] == ["a"]
    stored = dict(desk.objects)
    assert await give_feedback(desk.storage, JOB, task, [{"query_id": "q0", "label": "A"}], 3_000_000) == []
    assert desk.objects == stored
    # A correction and its correction are news each time
    for label in "ba":
        news = await give_feedback(desk.storage, JOB, task, [{"query_id": "q0", "label": label}], 4_000_000)
        assert [each.label for each in news] == [label]


def reviewed(query: str, label: str | None) -> Label:
    return Label(query, label, "human", "anna", "review", 0.4, "unsure")


async def test_a_review_brings_the_score_that_selected_it_and_judges_nothing() -> None:
    # Given reviews of every query of a job
    desk, learner, _ = await closed()
    labels = Labels(desk.storage, JOB)
    await labels.keep([reviewed(f"q{number}", "b") for number in range(4)], 2_000_000)
    # Then, though all are labelled, each was chosen: no share is claimed
    found = await graded(learner)
    assert {
        (row["label_source"], row["p_labelled"], row["selected_by"], row["selected_score"]) for row in found
    } == {("human", None, "review", 0.4)}
    assert {(row["reward"], row["weight"]) for row in found} == {(0.0, 1.0)}


async def test_a_second_review_grades_anew_and_a_withdrawn_one_weighs_nothing() -> None:
    desk, learner, _ = await closed()
    labels = Labels(desk.storage, JOB)
    # A label withdrawn before anything was graded is none
    await labels.keep([reviewed("q1", "b")], 2_000_000)
    await labels.keep([reviewed("q1", None)], 2_000_001)
    assert {row["label_source"] for row in await graded(learner)} == {"judges"}
    # The latest review of a query grades its answers
    await labels.keep([reviewed("q0", "b")], 3_000_000)
    await labels.keep([reviewed("q0", "a")], 3_000_001)
    assert [(row["query_id"], row["reward"]) for row in await graded(learner)] == [("q0", 1.0)] * 2
    # And withdrawn later, it gives way to rows that weigh nothing, once
    await labels.keep([reviewed("q0", None)], 4_000_000)
    found = await graded(learner)
    assert [(row["query_id"], row["weight"], row["p_labelled"]) for row in found] == [("q0", 0.0, None)] * 2
    assert await graded(learner) == []
    # Until someone reviews it again
    await labels.keep([reviewed("q0", "b")], 5_000_000)
    assert [(row["weight"], row["reward"]) for row in await graded(learner)] == [(1.0, 0.0)] * 2
