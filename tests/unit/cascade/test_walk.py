"""Up the ladder: who is believed, who is passed over, and why a query ends as it does."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from pipeline.cascade.bench import Judging
from pipeline.cascade.judges.agreement import Agreement
from pipeline.cascade.judges.confidence import Confidence
from pipeline.cascade.judges.valid import Valid
from pipeline.cascade.walk import Asking, walk
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from pipeline.taxonomy.tree import ROOT
from schemas.ids import QueryId, TierName
from schemas.job import Task
from schemas.records import Onward, Plan, Query, Reply, Result
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
    planned: dict[str, Any] | None = None,
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
    given: dict[str, Any] = {
        "judging": Judging(judges=[Valid(), Confidence(), Agreement()]),
        "masked": (), "too_long": "reject", "max_tokens": None, "min_confidence": {},
    }  # fmt: skip
    asking = Asking(
        prompt=build_prompt(spec),
        parse=parser_of(spec),
        rungs=rungs,
        **{**given, **fields},
    )
    plan = Plan(
        tiers=tuple(names), accept=(0.8,) * len(names), route="ladder", policy_version="p", **planned or {}
    )
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
        (http(400), "rejected: HTTP 400"),
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
    tier = Scripted(http(400), sure("a"))

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


class Then(Onward):
    """Plans other tiers after the first answer; writes down what it was told."""

    def __init__(self, *tiers: str) -> None:
        self.tiers = tuple(map(TierName, tiers))
        self.told: list[tuple[Any, ...]] = []

    def replan(self, plan: Plan, asked: Sequence[TierName], confidence: float, standing: float) -> Plan:
        self.told.append((tuple(asked), round(confidence, 3), round(standing, 3)))
        if len(asked) > 1:
            return plan
        if not self.tiers:
            return msgspec.structs.replace(plan, accept=(0.0, *plan.accept[1:]))
        return msgspec.structs.replace(plan, tiers=(*asked, *self.tiers), accept=(0.8, 0.0))


async def test_an_answer_may_change_which_tier_is_next() -> None:
    # Given a plan over three tiers that after the first answer leads to the third
    then, skipped = Then("t2"), Scripted()
    result = await run(
        Scripted(unsure("a")), skipped, Scripted(ok("b", confidence=0.4)), planned={"onward": then}
    )
    # Then the second is never asked, what was planned first is kept, and the change says so
    assert (result.value, result.tier, skipped.sent) == ("b", "t2", [])
    assert result.plan.tiers == ("t0", "t1", "t2")
    assert [step.replanned for step in result.steps] == [("t2",), None]
    assert result.steps[0].reason == "confidence 0.60 below 0.80; replanned: then t2"
    assert then.told[0] == (("t0",), 0.6, 0.6)
    assert then.told[1][0] == ("t0", "t2")


async def test_an_answer_may_end_the_plan() -> None:
    dear = Scripted()
    result = await run(Scripted(unsure("a")), dear, planned={"onward": Then()})

    assert (result.status, result.value, dear.sent) == ("answered", "a", [])
    (step,) = result.steps
    assert (step.accepted, step.replanned) == (True, ())
    assert result.reason == "confidence 0.60 reaches 0.00; replanned: no further call is worth its cost"


async def test_a_plan_that_ends_early_keeps_the_best_answer() -> None:
    class Ends(Then):
        def replan(self, plan: Plan, asked: Sequence[TierName], confidence: float, standing: float) -> Plan:
            accept = (*plan.accept[: len(asked) - 1], 0.0, *plan.accept[len(asked) :])
            return plan if len(asked) < 2 else msgspec.structs.replace(plan, accept=accept)

    tiers = (Scripted(unsure("a")), Scripted(ok("b", confidence=0.3)), Scripted())
    result = await run(*tiers, planned={"onward": Ends()})

    assert (result.value, result.tier, len(result.steps)) == ("a", "t0", 2)


async def test_an_answer_that_is_not_valid_leaves_the_plan_as_it_is() -> None:
    then = Then()
    result = await run(Scripted(ok("?")), Scripted(sure("b")), planned={"onward": then})

    assert result.value == "b"
    assert [told[0] for told in then.told] == [("t0", "t1")]


async def test_answers_paid_for_vote_where_the_plan_says_so() -> None:
    # Given two cheap tiers that agree and a last one that knows hardly more
    def tiers() -> tuple[Scripted, ...]:
        return Scripted(unsure("a")), Scripted(ok("a", confidence=0.4)), Scripted(ok("b", confidence=0.62))

    alone = await run(*tiers())
    voted = await run(*tiers(), planned={"fuses": True}, choices=10)

    assert (alone.value, alone.tier) == ("b", "t2")
    assert (voted.value, voted.tier) == ("a", "t0")
    assert voted.reason == "last tier of the plan; fused: t0 + t1 against t2"
    assert voted.confidence == pytest.approx(0.593, abs=1e-3)  # of the vote; a lone voice for it said .6
    assert [step.tier for step in voted.steps] == ["t0", "t1", "t2"]


async def test_a_vote_is_held_when_money_ends_the_walk_too() -> None:
    desk = await Desk.open(cap=HOLD + 50)
    result = await run(
        Scripted(unsure("a")),
        Scripted(ok("b", confidence=0.9)),
        Scripted(),
        desk=desk,
        planned={"fuses": True},
    )

    assert (result.status, result.value, result.tier) == ("deferred", "b", "t1")
    assert result.reason.startswith("exhausted: ")
    assert result.reason.endswith("fused: t1 against t0")


async def test_no_vote_puts_an_answer_below_its_floor_in_the_place_of_one_that_stands() -> None:
    def tiers() -> tuple[Scripted, ...]:
        return Scripted(unsure("a")), Scripted(ok("a", confidence=0.5)), Scripted(ok("b", confidence=0.55))

    planned, floor = {"fuses": True}, {"a": 0.97}
    assert (await run(*tiers(), planned=planned)).value == "a"
    assert (await run(*tiers(), planned=planned, min_confidence=floor)).value == "b"
