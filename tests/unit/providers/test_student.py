"""What a student learns, keeps, and when it does not pay."""

import random

import msgspec
import pytest

from pipeline.providers.student import Lesson, Student, StudentTier, Trial, decode, encode, teach, why_not

WORDS = {
    "a": "apple apricot avocado almond",
    "b": "bread butter bagel bean",
    "c": "cheese cherry carrot corn",
}


def lessons(count: int = 400, wrong: float = 0.0, weight_of_wrong: float = 0.5) -> list[Lesson]:
    """A share of them wrong, drawn at random."""
    drawn = random.Random(1)
    made = []
    for number in range(count):
        label = "abc"[number % 3]
        words = WORDS[label].split()
        text = f"{words[number % 4]} and {words[number // 4 % 4]} in {number}"
        is_wrong = drawn.random() < wrong
        said = "abc"[(number + 1) % 3] if is_wrong else label
        made.append(Lesson(text, said, weight_of_wrong if is_wrong else 1.0, 1000))
    return made


def test_it_is_the_same_wherever_it_is_loaded() -> None:
    student = teach(lessons())
    texts = ["a red apple", "bread rolls", "cherry", "nothing known", ""]
    here, there = StudentTier(student), StudentTier(decode(encode(student)))
    assert here.guess(texts) == there.guess(texts)
    assert [guess.answer for guess in here.guess(texts)][:3] == ["a", "b", "c"]
    assert here.model == there.model
    assert here.model != StudentTier(teach(lessons(wrong=0.1))).model
    assert teach(lessons()).version == student.version


def test_lessons_count_by_how_sure_they_are() -> None:
    # Given lessons of which half are wrong, always in the same way
    unsure = StudentTier(teach(lessons(wrong=0.5, weight_of_wrong=0.05)))
    misled = StudentTier(teach(lessons(wrong=0.5, weight_of_wrong=1.0)))
    # Then it believes the sure ones, and is less sure itself where all count alike
    assert [guess.answer for guess in unsure.guess(["apple", "bread", "cherry"])] == ["a", "b", "c"]
    assert (misled.guess(["apple"])[0].confidence or 0) < 0.75


def test_its_confidence_holds_on_what_was_held_out() -> None:
    student = teach(lessons(1500, wrong=0.2, weight_of_wrong=1.0))
    believed = sum(trial.confidence for trial in student.trials) / len(student.trials)
    agreed = sum(trial.agreed for trial in student.trials) / len(student.trials)
    assert len(student.trials) == pytest.approx(300, abs=60)
    assert believed == pytest.approx(agreed, abs=0.08)


def trials(sure: int, agreed: int, unsure: int, cost: int = 1000) -> Student:
    made = [Trial(0.99, number < agreed, cost) for number in range(sure)]
    student = teach(lessons(60))
    return Student(
        **{name: getattr(student, name) for name in student.__struct_fields__ if name != "trials"},
        trials=made + [Trial(0.4, False, cost)] * unsure,
    )


@pytest.mark.parametrize(
    ("student", "why"),
    [
        (trials(100, 97, 100), None),
        (trials(100, 93, 100), "agrees on 0.930"),
        (trials(1, 1, 99), "would answer 1 of 100"),
        (trials(100, 97, 100, cost=0), "costs nothing"),
        (trials(0, 0, 0), "would answer 0 of 0"),
    ],
)
def test_it_stands_aside_where_it_does_not_pay(student: Student, why: str | None) -> None:
    said = why_not(student, 0.95)
    assert said is None if why is None else why in (said or "")


def test_it_is_judged_on_what_no_student_chose() -> None:
    # Given lessons of which half were left over by a student
    made = [msgspec.structs.replace(each, fair=number % 2 == 0) for number, each in enumerate(lessons(900))]
    student = teach(made)
    assert len(student.trials) == pytest.approx(90, abs=40)
    assert why_not(teach([msgspec.structs.replace(each, fair=False) for each in made]), 0.9) is not None


def test_a_share_of_the_texts_is_kept_from_it() -> None:
    student = teach(lessons())
    texts = [f"apple {number}" for number in range(1000)]
    said = StudentTier(student, kept_from=0.1).guess(texts)
    kept = [guess.answer == "" for guess in said]
    assert sum(kept) == pytest.approx(100, abs=35)
    assert [guess.answer == "" for guess in StudentTier(student, kept_from=0.1).guess(texts)] == kept


def test_as_a_judge_it_says_how_likely_it_finds_a_label() -> None:
    student = StudentTier(teach(lessons()))
    chances = [student.chance("a red apple", label) for label in "abc"]
    assert sum(chance or 0.0 for chance in chances) == pytest.approx(1.0)
    assert chances[0] is not None
    assert chances[0] > 0.8
    assert student.chance("a red apple", "never met") is None
    kept = StudentTier(teach(lessons()), kept_from=0.3)
    silent = [kept.chance(f"apple {number}", "a") is None for number in range(500)]
    assert sum(silent) / len(silent) == pytest.approx(0.3, abs=0.06)
    # And as a tier it gives no answer to the very same texts
    assert silent == [not kept.guess([f"apple {number}"])[0].answer for number in range(500)]
