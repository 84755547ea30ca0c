"""The vote of the answers paid for: by how sure each is, never by heads alone."""

from itertools import permutations
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cascade.combine import combine
from pipeline.cascade.fuse import Fused, fuse, weigh
from schemas.ids import CallId, TierName
from schemas.records import Answer, Step, Value, Vote

sure = st.floats(0.02, 0.98)


def odds(chance: float) -> float:
    return log(chance / (1 - chance))


def steps(*answers: tuple[Value | None, float]) -> list[Step]:
    """Tiers t0, t1, … asked in turn, each with its own confidence, judged with its agreement to those before."""
    made: list[Step] = []
    for number, (value, confidence) in enumerate(answers):
        before = [step.answer.value for step in made if step.answer.value is not None]
        votes = [Vote(judge="confidence", version=1, score=confidence)]
        if before and value is not None:
            agreed = sum(each == value for each in before) / len(before)
            votes.append(Vote(judge="agreement", version=1, score=agreed))
        made.append(
            Step(
                tier=TierName(f"t{number}"), call_id=CallId(f"c{number}"), answer=Answer(value=value),
                votes=tuple(votes), confidence=combine(votes, 0.7) if value is not None else 0.0,
                accepted=False, reason="",
            )
        )  # fmt: skip
    return made


def fused(choices: int, *answers: tuple[Value | None, float]) -> Fused:
    found = fuse(steps(*answers), choices, {})
    assert found is not None
    return found


def test_two_that_are_fairly_sure_outvote_one_that_is_hardly_surer() -> None:
    found = fused(3, ("a", 0.7), ("a", 0.7), ("b", 0.75))

    assert (found.step.answer.value, found.step.tier) == ("a", "t1")
    assert (found.voices, found.against) == (("t0", "t1"), ("t2",))
    assert found.told == "fused: t0 + t1 against t2"


def test_a_majority_that_hardly_knows_does_not_outvote_one_that_is_sure() -> None:
    found = fused(2, ("a", 0.55), ("a", 0.55), ("b", 0.9))

    assert (found.step.answer.value, found.step.tier) == ("b", "t2")


def test_a_further_voice_says_less_than_one_that_stands_alone() -> None:
    # Given two voices of .8 for one of two answers: independent, they would be right at .94
    found = fused(2, ("a", 0.8), ("a", 0.8))

    assert 0.8 < found.confidence < 0.94


def test_agreement_says_more_where_there_are_many_answers_to_err_with() -> None:
    few, many = (fused(choices, ("a", 0.5), ("a", 0.5)).confidence for choices in (2, 50))

    assert few == pytest.approx(0.5)
    assert many > 0.8


def test_one_answer_is_as_sure_as_it_was_judged_and_none_is_no_vote() -> None:
    assert fused(5, ("a", 0.6), (None, 0.9)).confidence == pytest.approx(0.6)
    assert fuse(steps((None, 0.9)), 5, {}) is None


def test_what_rewards_have_shown_of_a_tier_counts_and_not_what_it_says_of_itself() -> None:
    # Given a tier that says .6 of answers of which nine in ten are right, and one that is as often right as it says
    answers = steps(("a", 0.6), ("b", 0.8))
    found = fuse(answers, 3, {TierName("t0"): (odds(0.9) - odds(0.6), 1.0)})
    assert found is not None
    assert (found.step.answer.value, found.against) == ("a", ("t1",))


def test_objects_vote_as_wholes() -> None:
    one, other = {"to": "x", "sum": 1}, {"to": "x", "sum": 2}

    assert fused(100, (one, 0.6), (other, 0.65), ({"sum": 1, "to": "x"}, 0.6)).step.answer.value == one


def test_of_equals_the_last_stands() -> None:
    assert fused(3, ("a", 0.7), ("b", 0.7)).step.tier == "t1"


@given(st.lists(st.tuples(st.sampled_from("abc"), sure), min_size=1, max_size=4), st.integers(3, 50))
def test_it_is_a_probability_and_no_order_of_the_voices_matters(
    answers: list[tuple[str, float]], choices: int
) -> None:
    found = set()
    for ordered in permutations(answers):
        group, confidence = weigh([each[0] for each in ordered], [odds(each[1]) for each in ordered], choices)
        found.add(round(confidence, 9))
        assert 0 < confidence < 1
        assert len({ordered[at][0] for at in group}) == 1
    assert len(found) == 1


@given(sure, st.integers(2, 100))
def test_one_voice_is_right_as_often_as_it_says(chance: float, choices: int) -> None:
    assert weigh(["a"], [odds(chance)], choices)[1] == pytest.approx(chance)
