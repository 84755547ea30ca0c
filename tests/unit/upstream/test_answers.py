"""Answers from a file and from the rule."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.upstream.answers import OutcomesError
from tests.upstream.outcomes import OutcomeAnswers
from tests.upstream.rule import DefaultAnswer, EchoLabel


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    """Two datasets, two models, a duplicate text and a row without a response."""
    rows = [
        ("s/one", "A text.\n\nWith a gap.", "small", "a", 0.9),
        ("s/one", "A text.\n\nWith a gap.", "large", "b", None),
        ("s/one", "Twice", "small", "first", 0.5),
        ("s/one", "Twice", "small", "second", 0.5),
        ("s/one", "Silent", "small", None, None),
        ("s/two", "Other", "small", "c", 0.0),
    ]
    names = ("dataset", "text", "model", "response", "confidence")
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


@pytest.mark.parametrize(
    "message",
    [
        "A text.\n\nWith a gap.",
        "Classify.\n<document>\nA text.\n\nWith a gap.\n</document>\nAnswer:",
    ],
)
def test_a_document_is_found_exactly_or_in_its_tags(outcomes: Path, message: str) -> None:
    answer = OutcomeAnswers(outcomes).find("large", message)

    assert answer is not None
    assert (answer.content, answer.confidence) == ("b", None)


def test_a_document_is_found_after_the_last_blank_line(outcomes: Path) -> None:
    answer = OutcomeAnswers(outcomes).find("small", "Classify:\n\nOther")

    assert answer is not None
    assert answer.content == "c"


def test_of_equal_texts_the_first_row_answers(outcomes: Path) -> None:
    answer = OutcomeAnswers(outcomes).find("small", "Twice")

    assert answer is not None
    assert answer.content == "first"


def test_unknown_texts_and_rows_without_a_response_have_no_answer(outcomes: Path) -> None:
    answers = OutcomeAnswers(outcomes)

    assert answers.find("small", "Nowhere") is None
    assert answers.find("small", "Silent") is None


def test_datasets_and_models_limit_what_is_served(outcomes: Path) -> None:
    assert OutcomeAnswers(outcomes, datasets=("two",)).models == ("small",)
    assert OutcomeAnswers(outcomes, datasets=("s/one",), models=("large",)).models == ("large",)


def test_a_model_or_dataset_without_rows_is_refused(outcomes: Path) -> None:
    with pytest.raises(OutcomesError, match="huge"):
        OutcomeAnswers(outcomes, models=("small", "huge"))
    with pytest.raises(OutcomesError):
        OutcomeAnswers(outcomes, datasets=("three",))


def test_the_rule_is_right_as_often_as_told_and_always_says_the_same() -> None:
    rule = EchoLabel(labels=("a", "b", "c"), accuracy={"m": 0.8}, seed=1)
    texts = [f"[gold=b] text {number}" for number in range(4000)]

    answers = [rule.find("m", text) for text in texts]
    said = Counter(answer.content for answer in answers)

    assert said["b"] / len(texts) == pytest.approx(0.8, abs=0.03)
    assert min(said["a"], said["c"]) > 0
    assert answers == [rule.find("m", text) for text in texts]


def test_the_rules_confidence_is_higher_for_right_answers() -> None:
    rule = EchoLabel(labels=("a", "b"), accuracy={"m": 0.5}, seed=1)
    answers = [rule.find("m", f"[gold=a] {number}") for number in range(2000)]

    right = [answer.confidence or 0 for answer in answers if answer.content == "a"]
    wrong = [answer.confidence or 0 for answer in answers if answer.content == "b"]

    assert sum(right) / len(right) > sum(wrong) / len(wrong) + 0.15


def test_the_rule_answers_a_document_whatever_stands_around_it() -> None:
    rule = EchoLabel(labels=("a", "b"), accuracy={"m": 0.5}, seed=1)
    bare = [rule.find("m", f"[gold=a] {number}") for number in range(50)]
    tagged = [rule.find("m", f"Do it.\n<document>\n[gold=a] {number}\n</document>") for number in range(50)]

    assert bare == tagged


def test_a_default_answers_what_is_not_known(outcomes: Path) -> None:
    answers = DefaultAnswer(OutcomeAnswers(outcomes), "none")

    assert answers.find("small", "Nowhere").content == "none"
    assert answers.find("small", "Other").content == "c"
