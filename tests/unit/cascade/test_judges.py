"""Judges that ask: what they ask, where they ask, and what they make of the replies."""

from typing import Any

import pytest

from pipeline.cascade.holder import Yielded
from pipeline.cascade.judges.model_graded import ModelGraded, read_score, right_first, shown_answer
from pipeline.cascade.judges.self_consistency import SelfConsistency
from pipeline.cascade.judges.student import StudentJudge
from pipeline.ports.judge import Case, NoReply
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from schemas.ids import QueryId, TierName
from schemas.job import ClassifyTask
from schemas.records import Answer, Completion, FinishReason, Query, Request, Value

TASK = ClassifyTask.model_validate({"kind": "classify", "instructions": "Sort.", "labels": ["a", "b"]})
PROMPT = build_prompt(TASK)
CHEAP = TierName("cheap")


class Asked:
    """Replies by the number of the sample and what was asked; writes both down."""

    def __init__(self, *replies: Completion | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.samples: list[int] = []

    async def __call__(self, tier: TierName, request: Request, sample: int = 0) -> Completion:
        assert tier == CHEAP
        self.requests.append(request)
        self.samples.append(sample)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def said(text: str, confidence: float | None = None, finish: FinishReason = "stop") -> Completion:
    return Completion(text=text, finish_reason=finish, confidence=confidence)


def case(ask: Asked, value: Value | None = "a", outlook: float = 0.75, needed: float = 0.8) -> Case:
    return Case(
        query=Query(query_id=QueryId("q"), text="raw", examples=(("like it", "b"),)), document="masked",
        tier=TierName("t"), answer=Answer(value=value), completion=said("a"), before=(), outlook=outlook,
        needed=needed, ask=ask,
    )  # fmt: skip


def consistency(**changes: Any) -> SelfConsistency:
    given: dict[str, Any] = {"samples": 4, "temperature": 0.7, "band": 0.1, "max_output_tokens": None}
    return SelfConsistency(CHEAP, PROMPT, parser_of(TASK), **{**given, **changes})


def graded(**changes: Any) -> ModelGraded:
    given: dict[str, Any] = {
        "prompt": None, "order": "keyed", "answer_chars": 20, "longest": 9, "band": None, "logprobs": True,
        "max_output_tokens": None,
    }  # fmt: skip
    return ModelGraded(CHEAP, PROMPT.system, **{**given, **changes})


async def test_the_share_of_equal_samples_is_the_score() -> None:
    ask = Asked(said("a"), said("b"), said("nonsense"), said("a"))

    vote = await consistency().score(case(ask))

    assert vote.score == pytest.approx(2 / 3)  # what is no valid answer has no voice
    assert vote.reason == "2 of 3 samples of cheap, 1 without an answer"
    assert ask.samples == [1, 2, 3, 4]
    for request in ask.requests:
        assert (request.temperature, request.user, request.system) == (0.7, "masked", PROMPT.system)
        assert request.examples == (("like it", "b"),)


@pytest.mark.parametrize(
    ("outlook", "needed", "asked"),
    [(0.75, 0.8, True), (0.89, 0.8, True), (0.95, 0.8, False), (0.6, 0.8, False), (0.05, 0.0, False)],
)
async def test_samples_are_drawn_only_where_they_may_tip_the_balance(
    outlook: float, needed: float, asked: bool
) -> None:
    ask = Asked(*[said("a")] * 4)

    vote = await consistency().score(case(ask, outlook=outlook, needed=needed))

    assert bool(ask.samples) == asked
    assert (vote.score, vote.reason) == ((1.0, "4 of 4 samples of cheap") if asked else (None, ""))
    always = await consistency(band=None).score(case(Asked(*[said("a")] * 4), outlook=outlook, needed=needed))
    assert always.score == 1.0


async def test_a_sample_that_is_not_paid_for_leaves_the_others_their_voice() -> None:
    ask = Asked(said("a"), NoReply("no money"), said("b"), NoReply("no money"))

    assert (await consistency().score(case(ask))).score == 0.5
    with pytest.raises(NoReply, match="no money"):
        await consistency().score(case(Asked(*[NoReply("no money")] * 4)))
    with pytest.raises(NoReply, match="none of 4 samples of cheap is a valid answer"):
        await consistency().score(case(Asked(*[said("?")] * 4)))


async def test_what_ends_the_batch_is_no_lost_sample() -> None:
    with pytest.raises(Yielded):
        await consistency().score(case(Asked(said("a"), NoReply("no money"), Yielded(), said("a"))))


@pytest.mark.parametrize(
    ("completion", "right", "score"),
    [
        (said("A", 0.9), "A", 0.9),
        (said("A", 0.9), "B", 0.1),
        (said('{"verdict": "B"}', 0.8), "B", 0.8),
        (said("B."), "B", 1.0),
        (said("B: the answer is wrong"), "A", 0.0),
        (said("0.25"), "A", 0.25),
        (said('{"verdict": 0.7}'), "B", 0.7),
        (said("Yes."), "B", 1.0),
        (said("wrong", 0.9), "B", pytest.approx(0.1)),
        (said("A lot speaks for it"), "A", None),
        (said("1.5"), "A", None),
        (said("nan"), "A", None),
        (said("maybe"), "A", None),
        (said("[]"), "A", None),
        (said("A", finish="length"), "A", None),
        (said("", finish="malformed"), "A", None),
    ],
)
def test_reading_a_verdict(completion: Completion, right: Any, score: Any) -> None:
    found = read_score(completion, right=right)
    assert found == (score if score is None or not isinstance(score, float) else pytest.approx(score))


async def test_the_options_change_places_by_document_and_answer() -> None:
    firsts = []
    for value in ("a", "b"):
        for number in range(200):
            shown = right_first(f"document {number}", value)
            assert shown == right_first(f"document {number}", value)
            firsts.append(shown)
    assert 160 < sum(firsts) < 240

    ask = Asked(said("A", 0.9))
    vote = await graded().score(case(ask))
    first = right_first("masked", "a")
    options = ("right", "wrong") if first else ("wrong", "right")
    assert ask.requests[0].user == (
        "<document>\nmasked\n</document>\n\n<answer>\na\n</answer>\n\n"
        f"A: the answer is {options[0]}\nB: the answer is {options[1]}"
    )
    assert vote.form == f"{options[0]} first"
    assert vote.score == pytest.approx(0.9 if first else 0.1)


async def test_a_judge_that_always_takes_the_first_option_is_told_apart_by_both_orders() -> None:
    vote = await graded(order="both").score(case(Asked(said("A", 0.9), said("A", 0.9))))

    assert vote.score == pytest.approx(0.5)
    assert (vote.form, vote.reason) == ("both orders", "cheap: 0.90, 0.10")


async def test_no_verdict_is_no_score() -> None:
    with pytest.raises(NoReply, match="cheap gave no verdict: 'hm'"):
        await graded().score(case(Asked(said("hm"))))


def test_an_answer_is_shown_without_its_reasoning_and_trimmed() -> None:
    assert shown_answer("<think>long\nand wide</think>\nyes", 20) == "yes"
    assert shown_answer("<thinking>never ends", 20) == ""
    assert shown_answer("y" * 30, 20) == "y" * 20 + " […]"
    assert shown_answer({"b": "ü", "a": 1}, 20) == '{"a": 1, "b": "ü"}'


def test_what_could_be_asked_is_foreseen() -> None:
    query = Query(query_id=QueryId("q"), text="raw")
    assert [tier for tier, _ in consistency().foresee(query, "masked")] == [CHEAP] * 4
    assert len(graded(order="both").foresee(query, "masked")) == 2
    [(_, request)] = graded().foresee(query, "masked")
    assert "masked" in request.user
    assert "xxxxxxxxx\n" in request.user  # the longest answer to expect


def test_a_prompt_of_ones_own_holds_the_task() -> None:
    [(_, request)] = graded(prompt="Task: {task}").foresee(Query(query_id=QueryId("q"), text=""), "d")
    assert request.system == f"Task: {PROMPT.system}"


async def test_the_student_judges_labels_it_knows() -> None:
    chances = {"a": 0.9}
    judge = StudentJudge(lambda text, label: chances.get(label), "v7")
    assert (await judge.score(case(Asked()))).score == 0.9
    assert (await judge.score(case(Asked()))).reason == "student v7"
    for silent in (case(Asked(), value="b"), case(Asked(), value=None), case(Asked(), value=["a"])):
        vote = await judge.score(silent)
        assert (vote.score, vote.reason) == (None, "")
    assert (await StudentJudge(None).score(case(Asked()))).score is None
