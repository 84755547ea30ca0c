"""Judges on the way up the ladder: they pay through the ledger, and what fails of them leaves a record."""

from typing import Any

import pytest

from pipeline.cascade.bench import Bench, Judging
from pipeline.cascade.holder import Yielded
from pipeline.cascade.judges.confidence import Confidence
from pipeline.cascade.judges.model_graded import ModelGraded
from pipeline.cascade.judges.self_consistency import SelfConsistency
from pipeline.cascade.judges.valid import Valid
from pipeline.cascade.rung import Asked
from pipeline.ports.judge import Case
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from schemas.ids import QueryId, TierName
from schemas.job import ClassifyTask
from schemas.records import Answer, Completion, Query, Result, Vote
from tests.unit.cascade.desk import CUT, HOLD, Desk, Scripted, ok, rung
from tests.unit.cascade.test_walk import CLASSIFY, run, sure, unsure

TASK = ClassifyTask.model_validate(CLASSIFY)
SECOND = TierName("t1")


def judging(*paying: Any) -> Judging:
    return Judging(judges=[Valid(), Confidence()], paying=paying)


def samples(tier: str = "t1", count: int = 2) -> SelfConsistency:
    return SelfConsistency(
        TierName(tier), build_prompt(TASK), parser_of(TASK), samples=count, temperature=1.0, band=None,
        max_output_tokens=None,
    )  # fmt: skip


def grading(tier: str = "t1") -> ModelGraded:
    return ModelGraded(
        TierName(tier), "task", prompt=None, order="both", answer_chars=99, longest=9, band=None, logprobs=True,
        max_output_tokens=None,
    )  # fmt: skip


class Broken:
    name, version = "broken", 3

    def __init__(self, error: Exception | None = None, score: float | None = None) -> None:
        self._error, self._score = error, score

    async def score(self, case: Case) -> Vote:
        if self._error:
            raise self._error
        return Vote(judge=self.name, version=self.version, score=self._score)

    def foresee(self, query: Any, document: str) -> list[Any]:
        return []


def vote_of(result: Result, judge: str, position: int = 0) -> Vote | None:
    return next((vote for vote in result.steps[position].votes if vote.judge == judge), None)


async def test_samples_tip_the_balance_and_are_calls_of_the_query() -> None:
    desk = await Desk.open()
    dear = Scripted(ok("a", 10), ok("a", 10))

    result = await run(Scripted(ok("a", 40, confidence=0.7)), dear, desk=desk, judging=judging(samples()))

    assert (result.status, result.tier) == ("answered", "t0")
    assert result.confidence == pytest.approx(0.913, abs=0.001)  # log-odds of .7, and 1.5
    assert (result.steps[0].cost, result.steps[0].judging) == (40, 20)
    asked = [(call.purpose, call.tier, call.sample, call.query_id) for call in await desk.calls()]
    assert asked == [("answer", "t0", 0, "q"), ("judge", "t1", 1, "q"), ("judge", "t1", 2, "q")]
    assert (await desk.account()).spent == 60


async def test_equal_samples_for_the_next_tiers_answer_are_not_paid_twice() -> None:
    desk = await Desk.open()
    second = Scripted(ok("b", 10), ok("b", 10), sure("b", cost=5))

    result = await run(Scripted(unsure("a")), second, desk=desk, judging=judging(samples()))

    assert [step.judging for step in result.steps] == [20, 0]
    votes = [vote_of(result, "self-consistency", position) for position in (0, 1)]
    assert [vote and vote.score for vote in votes] == [0.0, 1.0]
    assert (await desk.account()).spent == 40 + 20 + 5


async def test_a_redelivered_batch_asks_no_judge_again() -> None:
    desk = await Desk.open()
    judges = judging(samples(), grading())
    first = await run(Scripted(sure("a")), Scripted(*[ok("A", 10)] * 4), desk=desk, judging=judges)
    spent = (await desk.account()).spent
    await desk.take(now=1_000_000)

    again = await run(Scripted(), Scripted(), desk=desk, judging=judges)

    assert again.steps[0].votes == first.steps[0].votes
    assert (await desk.account()).spent == spent


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        (Broken(ValueError("boom")), "ValueError: boom"),
        (Broken(score=1.5), "ValueError: a score of 1.5 is no probability"),
        (Broken(score=float("nan")), "ValueError: a score of nan is no probability"),
    ],
)
async def test_a_judge_that_fails_leaves_a_record(judge: Broken, reason: str) -> None:
    for bench in (judging(judge), Judging(judges=[Valid(), Confidence(), judge])):
        result = await run(Scripted(sure("a")), judging=bench)
        assert (result.status, result.value) == ("answered", "a")
        assert result.confidence == pytest.approx(0.95)
        assert vote_of(result, "broken") == Vote(judge="broken", version=3, score=None, reason=reason)


async def test_silence_leaves_no_record() -> None:
    result = await run(Scripted(sure("a")), judging=judging(Broken()))
    assert vote_of(result, "broken") is None


async def test_what_ends_the_batch_is_not_a_judges_failure() -> None:
    with pytest.raises(Yielded):
        await run(Scripted(sure("a")), judging=judging(Broken(Yielded())))


async def test_a_verdict_cut_off_is_charged_and_recorded() -> None:
    desk = await Desk.open()

    result = await run(Scripted(sure("a")), Scripted(CUT, CUT), desk=desk, judging=judging(grading()))

    vote = vote_of(result, "model-graded")
    assert result.tier == "t0"
    assert vote is not None
    assert (vote.score, vote.reason) == (None, "tier t1: presumed: timed out")
    assert (await desk.account()).spent == 40 + 2 * HOLD


async def test_no_money_for_a_judge_and_the_cascade_goes_on() -> None:
    # Given money for the first tier's answer and nothing else
    desk = await Desk.open(cap=HOLD)

    result = await run(Scripted(sure("a")), Scripted(), desk=desk, judging=judging(grading()))

    # Then an answer that is sure enough without the judge stands
    assert (result.status, result.value) == ("answered", "a")
    vote = vote_of(result, "model-graded")
    assert vote is not None
    assert vote.score is None
    assert vote.reason.startswith("tier t1: exhausted: account job/j: cap")

    # And one that is not is deferred by the next tier's hold, and kept
    desk = await Desk.open(cap=HOLD)
    result = await run(Scripted(unsure("a")), Scripted(), desk=desk, judging=judging(grading()))
    assert (result.status, result.value) == ("deferred", "a")
    assert result.reason.startswith("exhausted")


async def test_a_tier_that_may_not_see_the_query_is_no_judge_of_it() -> None:
    second = Scripted()

    result = await run(
        Scripted(sure("a")), second, judging=judging(grading()), allowed=lambda assignment: frozenset({"t0"})
    )

    assert second.sent == []
    vote = vote_of(result, "model-graded")
    assert vote is not None
    assert vote.reason == "tier t1 may not see this query"


async def test_an_answer_that_is_none_is_not_put_to_judges_that_cost() -> None:
    second = Scripted(sure("b"), ok("A"), ok("B"))

    result = await run(Scripted(ok("nonsense")), second, judging=judging(grading()))

    assert [vote.judge for vote in result.steps[0].votes] == ["valid"]
    assert len(second.sent) == 3


async def test_judges_see_what_may_leave_the_process() -> None:
    second = Scripted(ok("A"), ok("B"))
    await run(
        Scripted(sure("a")), second, text="mail me at ann@example.org", masked=("email",),
        judging=judging(grading()),
    )  # fmt: skip
    assert second.sent
    assert all("[EMAIL_1]" in body["user"] and "ann@" not in body["user"] for body in second.sent)


async def test_a_document_too_long_for_the_judge_is_recorded() -> None:
    result = await run(
        Scripted(sure("a")), Scripted(), text="x" * 3000, rooms=(10**6, 10), judging=judging(grading())
    )
    vote = vote_of(result, "model-graded")
    assert vote is not None
    assert vote.reason == "too long for tier t1"


async def test_a_local_judge_is_off_the_ledger_and_in_the_calls() -> None:
    desk = await Desk.open()
    off_ledger: list[tuple[TierName, Asked]] = []
    local = rung(Scripted(ok("A"), ok("A"), local=True), name="t1")
    query = Query(query_id=QueryId("q"), text="doc")
    bench = Bench(judging(grading()), {SECOND: local}, desk.caller, query, "doc", lambda: None, off_ledger)
    said = Completion(text="a", finish_reason="stop", confidence=0.9)

    heard = await bench.hear(rung(Scripted()), Answer(value="a"), said, (), 0.8)

    assert [vote.score for vote in heard.votes if vote.judge == "model-graded"] == [0.5]
    assert heard.cost == 0
    assert [(tier, asked.purpose) for tier, asked in off_ledger] == [("t1", "judge")] * 2
    assert await desk.calls() == []
