"""Whatever judges say: scores and P(correct) are probabilities, and more support never makes an answer less likely."""

import string
from math import exp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cascade.calibrate import Labelled, calibrate
from pipeline.cascade.combine import STATED, combine, evidence
from pipeline.cascade.judges.model_graded import read_score, shown_answer
from schemas.records import Completion, Vote

JUDGES = ("confidence", "agreement", "self-consistency", "model-graded", "student")
shares = st.floats(0, 1)
scores = st.dictionaries(st.sampled_from(JUDGES), shares)
rows = st.lists(
    st.builds(Labelled, scores=scores, trust=shares, right=st.booleans()), min_size=1, max_size=40
)
replies = st.text(alphabet=string.printable) | st.sampled_from(
    ["A", "B", "0.5", "yes", '{"verdict": "A"}', "1e400"]
)


def votes(said: dict[str, float]) -> list[Vote]:
    return [Vote(judge=judge, version=1, score=score) for judge, score in said.items()]


@settings(max_examples=60, deadline=None)
@given(rows=rows, said=scores, trust=shares, judge=st.sampled_from(JUDGES), more=shares, less=shares)
def test_more_support_is_never_less_likely(
    rows: list[Labelled], said: dict[str, float], trust: float, judge: str, more: float, less: float
) -> None:
    low, high = sorted((less, more))
    for combiner in (STATED, calibrate(rows)):
        chances = [combine(votes({**said, judge: score}), trust, combiner) for score in (low, high)]
        assert 0 <= chances[0] <= chances[1] <= 1
        assert combine([*votes(said), Vote(judge="valid", version=1, score=0.0)], trust, combiner) == 0


@settings(max_examples=60, deadline=None)
@given(rows=rows, said=scores, trust=shares)
def test_p_correct_is_the_weighted_sum_that_the_weights_are_fitted_on(
    rows: list[Labelled], said: dict[str, float], trust: float
) -> None:
    combiner = calibrate(rows)
    names = [judge for judge in said if judge != "confidence"]
    odds = sum(w * x for w, x in zip(combiner.weights(names), evidence(said, trust, names), strict=True))
    assert combine(votes(said), trust, combiner) == pytest.approx(1 / (1 + exp(-odds)), rel=1e-9)


@given(rows=rows)
def test_the_same_labels_give_the_same_weights(rows: list[Labelled]) -> None:
    assert calibrate(rows) == calibrate(list(rows))


@given(said=scores, trust=shares, failed=st.sampled_from(JUDGES))
def test_a_judge_that_failed_says_nothing_either_way(
    said: dict[str, float], trust: float, failed: str
) -> None:
    heard = {judge: score for judge, score in said.items() if judge != failed}
    record = Vote(judge=failed, version=1, score=None, reason="failed")
    assert combine([*votes(heard), record], trust) == combine(votes(heard), trust)


@given(text=replies, confidence=st.none() | shares, right=st.sampled_from(["A", "B"]))
def test_a_verdict_is_a_probability_or_none(text: str, confidence: float | None, right: Any) -> None:
    score = read_score(Completion(text=text, finish_reason="stop", confidence=confidence), right=right)
    assert score is None or 0 <= score <= 1


@given(text=st.text(), most=st.integers(20, 100))
def test_no_more_of_an_answer_is_shown_than_stated(text: str, most: int) -> None:
    assert len(shown_answer(text, most)) <= most + len(" […]")
