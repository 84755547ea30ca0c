"""The labels that an answer gives."""

import pytest

from pipeline.task.labels import labels_in
from schemas.job import AnswerTask, ClassifyTask


@pytest.mark.parametrize(
    ("mode", "answer", "labels"),
    [
        ("single", "a", ["a"]),
        ("single", '["a"]', ['["a"]']),
        ("multi", '["a", "b"]', ["a", "b"]),
        ("multi", "[]", []),
        ("hierarchical", '["a", "a/b"]', ['["a", "a/b"]']),
        ("single", None, []),
    ],
)
def test_a_set_gives_each_of_its_labels_and_all_else_one(
    mode: str, answer: str | None, labels: list[str]
) -> None:
    task = ClassifyTask.model_validate({"kind": "classify", "mode": mode, "labels": ["a", "b"]})
    assert labels_in(task, answer) == labels


def test_a_choice_is_a_label() -> None:
    assert labels_in(AnswerTask(kind="answer", choices=["x", "y"]), "x") == ["x"]
