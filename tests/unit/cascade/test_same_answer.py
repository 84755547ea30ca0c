"""Whether two answers say the same: neither is favoured for where it stands, and no verdict is no agreement."""

from typing import Literal

import pytest

from pipeline.cascade.judges.same_answer import SameAnswer, same_words
from schemas.ids import QueryId, TierName
from schemas.records import Completion, FinishReason


def judge(order: Literal["keyed", "both"] = "keyed", answer_chars: int = 100) -> SameAnswer:
    return SameAnswer(
        TierName("t"), "Answer.", prompt=None, order=order, answer_chars=answer_chars, max_output_tokens=None
    )


def test_the_question_is_the_same_whichever_answer_is_the_reference() -> None:
    asked = judge()
    for number in range(20):
        one, two = f"it is {number}", "forty-two"
        assert list(asked.questions("doc", one, two)) == list(asked.questions("doc", two, one))


def test_answers_and_verdicts_stand_first_in_half_of_the_questions_each() -> None:
    asked = [next(judge().questions(f"document {number}", "alpha", "beta")) for number in range(400)]
    first = sum(message.index("alpha") < message.index("beta") for message, _ in asked)
    same = sum(letter == "A" for _, letter in asked)
    assert 130 < first < 270
    assert 130 < same < 270
    for message, letter in asked:
        assert f"{letter}: the answers say the same" in message


def test_both_orders_turn_answers_and_verdicts() -> None:
    (one, first), (two, second) = judge("both").questions("document", "alpha", "beta")
    assert {first, second} == {"A", "B"}
    assert (one.index("alpha") < one.index("beta")) != (two.index("alpha") < two.index("beta"))


@pytest.mark.parametrize(
    ("text", "finish", "verdict"),
    [("A", "stop", True), ("B", "stop", False), ('{"verdict": "A"}', "stop", True), ("Hm.", "stop", None),
     ("", "stop", None), ("A", "length", None)],
)  # fmt: skip
def test_a_verdict_is_read_or_there_is_none(text: str, finish: FinishReason, verdict: bool | None) -> None:
    assert judge().read(Completion(text=text, finish_reason=finish), "A") is verdict


def test_what_is_not_shown_whole_can_not_be_judged() -> None:
    assert judge(answer_chars=10).judges("short", "as short")
    assert not judge(answer_chars=10).judges("short", "one that is longer")
    assert judge(answer_chars=10).judges("short", "<think>at length about it</think>brief")


def test_form_alone_needs_no_judge() -> None:
    assert same_words("The  Answer is 5.", "the answer is 5")
    assert not same_words("-5", "5")
    assert not same_words("5 %", "5")


def test_the_request_has_no_name_for_either_answer_and_asks_coldly() -> None:
    ((message, _),) = judge().questions("document", "alpha", "beta")
    request = judge().request(QueryId("q"), message)
    assert request.temperature == 0
    assert "reference" not in request.system + request.user
