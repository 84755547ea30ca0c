"""Documents that are too long, and one answer for all parts of one."""

import pytest

from pipeline.task.length import estimated_tokens, fit, vote
from schemas.records import Answer


def test_what_fits_is_left_alone() -> None:
    assert fit("abc", 1, "reject") == ["abc"]
    assert fit("abcd", 1, "reject") == []
    assert estimated_tokens("äb") == 1
    assert estimated_tokens("äbc") == 2


def test_head_keeps_the_start_and_head_tail_both_ends() -> None:
    text = "start " + "x" * 1000 + " end"

    assert text.startswith(fit(text, 20, "head")[0])
    (cut,) = fit(text, 20, "head_tail")
    assert cut.startswith("start ")
    assert cut.endswith(" end")
    assert "[…]" in cut


@pytest.mark.parametrize("how", ["head", "head_tail", "split_and_vote"])
@pytest.mark.parametrize("limit", [0, 1])
def test_no_room_for_one_character_is_too_long(how: str, limit: int) -> None:
    assert fit("🎉" * 10, limit, how) == []


@pytest.mark.parametrize("limit", [2, 3])
def test_head_tail_in_hardly_any_room_still_fits(limit: int) -> None:
    (cut,) = fit("0123456789" * 5, limit, "head_tail")

    assert cut
    assert estimated_tokens(cut) <= limit


def test_a_split_ends_at_a_space_where_one_is_near() -> None:
    text = "word " * 100

    assert all(part.endswith(" ") for part in fit(text, 20, "split_and_vote"))


def answer(value: str | None, confidence: float | None = None, abstained: bool = False) -> Answer:
    problem = "" if value else "empty"
    return Answer(value=value, confidence=confidence, abstained=abstained, problem=problem)


def test_a_vote_goes_by_confidence_and_leaves_out_who_abstains() -> None:
    assert vote([answer("a", 0.9), answer("b", 0.3), answer("b", 0.4)]).value == "a"
    assert vote([answer("a", 0.6), answer("b", 0.4), answer("b", 0.4)]).value == "b"
    assert vote([answer("o", 0.99, abstained=True), answer("b", 0.1)]).value == "b"
    assert vote([answer(None), answer("b")]).value == "b"


def test_a_votes_confidence_is_its_share() -> None:
    assert vote([answer("a", 0.9), answer("b", 0.3)]).confidence == pytest.approx(0.75)
    assert vote([answer("a"), answer("b"), answer("a")]).confidence == pytest.approx(2 / 3)


def test_parts_without_confidence_at_all() -> None:
    assert vote([answer("a", 0.0), answer("b", 0.0)]) == Answer(value="a", confidence=0.0)


def test_when_all_abstain_or_fail() -> None:
    other = answer("o", 0.5, abstained=True)
    assert vote([answer(None), other]) is other
    assert vote([answer(None), answer(None)]).value is None
    assert vote([other]) is other
