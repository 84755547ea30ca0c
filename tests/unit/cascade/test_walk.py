"""Up the ladder: who is believed, who is passed over, and why a query ends as it does."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from pipeline.cascade.judges.agreement import Agreement
from pipeline.cascade.judges.confidence import Confidence
from pipeline.cascade.judges.valid import Valid
from pipeline.cascade.walk import Asking, walk
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from pipeline.taxonomy.tree import ROOT
from schemas.ids import QueryId, TierName
from schemas.job import Task
from schemas.records import Plan, Query, Reply, Result
from tests.unit.cascade.desk import CUT, HOLD, JOB, Desk, Scripted, http, ok, rung

TASK: TypeAdapter[Any] = TypeAdapter(Task)
CLASSIFY = {"kind": "classify", "labels": ["a", "b"]}


async def run(
    *tiers: Scripted,
    text: str = "doc",
    desk: Desk | None = None,
    task: dict[str, Any] = CLASSIFY,
    rooms: tuple[int, ...] = (),
    rejected: str | None = None,
    retries: int = 0,
    **fields: Any,
) -> Result:
    desk = desk or await Desk.open()
    spec = TASK.validate_python(task)
    names = [TierName(f"t{number}") for number in range(len(tiers))]
    sizes = rooms or (10**6,) * len(tiers)
    rungs = {
        name: rung(tier, name=name, room=room, retries=retries)
        for name, tier, room in zip(names, tiers, sizes, strict=True)
    }
    given: dict[str, Any] = {"masked": (), "too_long": "reject", "max_tokens": None, "min_confidence": {}}
    asking = Asking(
        prompt=build_prompt(spec),
        parse=parser_of(spec),
        rungs=rungs,
        judges=[Valid(), Confidence(), Agreement()],
        **{**given, **fields},
    )
    plan = Plan(tiers=tuple(names), accept=(0.8,) * len(names), route="ladder", policy_version="p")
    query = Query(query_id=QueryId("q"), text=text, rejected=rejected)
    result, _ = await walk(asking, desk.caller, query, ROOT, plan, lambda: 77)
    assert (await desk.account()).held == 0
    assert result.finished_at == 77
    return result


def sure(text: str = "a", **fields: Any) -> Reply:
    return ok(text, **{"confidence": 0.95, **fields})


def unsure(text: str = "a") -> Reply:
    return ok(text, confidence=0.6)


async def test_the_first_tier_that_is_sure_is_believed() -> None:
    second = Scripted()

    result = await run(Scripted(sure()), second)

    assert (result.status, result.value, result.tier) == ("answered", "a", "t0")
    assert result.confidence == pytest.approx(0.95)
    assert result.reason == "confidence 0.95 reaches 0.80"
    assert second.sent == []
    (step,) = result.steps
    assert step.accepted
    assert step.cost == 40


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ok("nonsense"), "outside the label set: 'nonsense'"),
        (ok("a", finish_reason="length"), "truncated"),
        (ok("a", finish_reason="refusal"), "refused"),
        (ok("a", finish_reason="malformed"), "malformed reply"),
        (ok(" "), "empty"),
        (unsure(), "confidence 0.60 below 0.80"),
        (ok("a"), "confidence 0.70 below 0.80"),
        (http(401), "rejected: HTTP 401"),
        (http(500), "presumed: HTTP 500"),
        (http(429), "rate_limited: HTTP 429"),
    ],
)
async def test_why_a_tier_is_left_is_written_down(reply: Reply, reason: str) -> None:
    result = await run(Scripted(reply), Scripted(sure("b")))

    assert (result.status, result.value, result.tier) == ("answered", "b", "t1")
    assert [step.reason for step in result.steps] == [reason, "last tier of the plan"]
    assert [step.accepted for step in result.steps] == [False, True]
    assert result.steps[0].call_id is not None  # a call came about, and may have cost


async def test_a_labels_own_floor_escalates_and_then_goes_to_review() -> None:
    first, last = Scripted(sure("a")), Scripted(sure("a"))

    result = await run(first, last, min_confidence={"a": 0.999})

    assert (result.status, result.value) == ("review", "a")
    assert result.steps[0].reason == "confidence 0.95 below the label's 1.00"
    assert "below the label's" in result.reason
    assert (await run(Scripted(sure("b")), min_confidence={"a": 0.999})).status == "answered"


async def test_the_last_tier_has_the_last_word_however_unsure() -> None:
    result = await run(Scripted(unsure("a")), Scripted(ok("b", confidence=0.3)))

    assert (result.status, result.value, result.reason) == ("answered", "b", "last tier of the plan")


async def test_when_the_last_tier_says_nothing_the_best_before_it_stands() -> None:
    result = await run(Scripted(unsure("a")), Scripted(ok("?")))

    assert (result.status, result.value, result.tier) == ("answered", "a", "t0")
    assert result.reason.startswith("no tier above has a valid answer; t1: outside the label set")


async def test_no_valid_answer_at_all_is_a_failure_with_its_reason() -> None:
    result = await run(Scripted(ok("?")), Scripted(ok("!")))

    assert (result.status, result.value, result.tier) == ("failed", None, None)
    assert result.reason == "no valid answer; t1: outside the label set: '!'"


@pytest.mark.parametrize("reply", [CUT, http(503), http(429)])
async def test_a_top_tier_out_of_reach_defers_and_keeps_the_best(reply: Reply) -> None:
    result = await run(Scripted(unsure("a")), Scripted(reply))

    assert (result.status, result.value) == ("deferred", "a")
    assert result.reason.startswith("tier t1 is unavailable: ")
    assert (await run(Scripted(reply))).status == "deferred"


async def test_a_tier_out_of_reach_below_one_too_small_defers_too() -> None:
    result = await run(Scripted(CUT), Scripted(), text="x" * 3000, rooms=(10**6, 10))

    assert result.status == "deferred"
    assert result.reason.startswith("tier t0 is unavailable: ")


async def test_money_that_runs_out_defers_and_keeps_the_best() -> None:
    desk = await Desk.open(cap=HOLD)

    result = await run(Scripted(unsure("a")), Scripted(), desk=desk)

    assert (result.status, result.value, result.tier) == ("deferred", "a", "t0")
    assert result.reason.startswith("exhausted: account job/j")
    empty = await run(Scripted(), desk=await Desk.open(cap=0))
    assert (empty.status, empty.value, empty.confidence) == ("deferred", None, None)


async def test_a_cancelled_job_keeps_the_best() -> None:
    desk = await Desk.open()
    first = Scripted(unsure("a"))

    async def cancel() -> None:
        await desk.ledger.stop_job(JOB, "cancelled")

    first.before_send = cancel
    result = await run(first, Scripted(), desk=desk)

    assert (result.status, result.value, result.reason) == ("cancelled", "a", "cancelled")


async def test_a_row_that_cannot_be_asked_costs_nothing() -> None:
    result = await run(Scripted(), rejected="not UTF-8")

    assert (result.status, result.reason, result.steps) == ("rejected", "not UTF-8", ())


async def test_too_long_for_every_tier_is_rejected() -> None:
    result = await run(Scripted(), Scripted(), text="x" * 31, rooms=(5, 10))

    assert (result.status, result.reason) == ("rejected", "too long for every allowed tier")


async def test_a_tier_too_small_for_the_document_is_passed_over() -> None:
    small, large = Scripted(), Scripted(sure())

    result = await run(small, large, text="x" * 30, rooms=(5, 10))

    assert (result.status, result.tier) == ("answered", "t1")
    assert small.sent == []
    assert result.steps[0].reason == "the document is too long for this tier"
    assert result.steps[0].call_id is None


async def test_a_category_that_allows_no_tier_fails_without_a_call() -> None:
    result = await run()

    assert (result.status, result.reason) == ("failed", "no tier is allowed for its category")


async def test_a_long_document_is_split_and_the_parts_vote() -> None:
    tier = Scripted(sure("a"), ok("b", confidence=0.2), sure("a"))

    text = "x" * 30 + "y" * 30 + "z" * 30

    result = await run(tier, Scripted(), text=text, too_long="split_and_vote", max_tokens=10)

    assert "".join(sent["user"] for sent in tier.sent) == text
    assert (result.value, result.tier) == ("a", "t0")
    assert result.steps[0].answer.confidence == pytest.approx(1.9 / 2.1)
    assert result.steps[0].usage.input == result.steps[0].cost == 120


async def test_parts_are_judged_though_the_first_failed() -> None:
    tier = Scripted(http(401), sure("a"))

    result = await run(tier, text="x" * 30 + "y" * 30, too_long="split_and_vote", max_tokens=10)

    assert (result.status, result.value) == ("answered", "a")
    assert [vote.judge for vote in result.steps[0].votes] == ["valid", "confidence"]


async def test_a_cut_document_is_sent_cut() -> None:
    tier = Scripted(sure())

    await run(tier, text="x" * 90, too_long="head", max_tokens=10)

    assert tier.sent[0]["user"] == "x" * 30


async def test_personal_data_stays_here_and_comes_back_in_the_result() -> None:
    task = {"kind": "extract", "schema": {"type": "object"}}
    tier = Scripted(sure('{"to": "[EMAIL_1]"}'))
    desk = await Desk.open()

    result = await run(tier, text="write to ann@example.org", task=task, masked=("email",), desk=desk)

    assert tier.sent[0]["user"] == "write to [EMAIL_1]"
    assert result.value == {"to": "ann@example.org"}
    (call,) = await desk.calls()
    assert b"ann@" not in (await desk.ledger.body(call.call_id) or b"")


async def test_the_judges_votes_are_written_down() -> None:
    result = await run(Scripted(unsure("a")), Scripted(unsure("a")), Scripted(unsure("b")))

    first, second = ({vote.judge: vote for vote in step.votes} for step in result.steps[:2])
    assert {name: vote.score for name, vote in first.items()} == {"valid": 1.0, "confidence": 0.6}
    assert second["agreement"].score == 1.0
    assert second["agreement"].reason == "1 of 1 earlier tiers"
    assert result.tier == "t1"  # agreement made it believed
    invalid = await run(Scripted(ok("?")))
    assert {vote.judge: vote.score for vote in invalid.steps[0].votes}["valid"] == 0.0
