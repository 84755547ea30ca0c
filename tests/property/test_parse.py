"""Whatever a model says: no crash, and no label that is not in the set."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.task.parse import parser_of
from schemas.job import AnswerTask, ClassifyTask, ExtractTask
from schemas.records import Completion

NAMES = [
    "a",
    "A*",
    "billing",
    "bill",
    "billing/late",
    "C++",
    "1",
    "-1",
    "12",
    "...",
    "größe",
    "label",
    "yes no",
]
scraps = st.lists(
    st.sampled_from(
        [*NAMES, '{"label": "', '"}', "[", "]", "{", "}", '"', "```", "json\n", "\\ud800", ", ", " "]
    )
    | st.text(max_size=5)
).map("".join)
texts = st.text() | scraps | scraps.map(json.dumps) | scraps.map(lambda text: json.dumps({"label": text}))

SINGLE = parser_of(ClassifyTask.model_validate({"kind": "classify", "labels": NAMES}))
LEAVES = parser_of(ClassifyTask.model_validate({"kind": "classify", "labels": NAMES, "mode": "hierarchical"}))
MULTI = parser_of(ClassifyTask.model_validate({"kind": "classify", "labels": NAMES, "mode": "multi"}))
CHOICE = parser_of(AnswerTask(kind="answer", choices=NAMES))
OBJECT = parser_of(ExtractTask.model_validate({"kind": "extract", "schema": {"type": "object"}}))


def said(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop")


@given(texts)
def test_a_label_is_in_the_set_or_a_problem_says_why(text: str) -> None:
    for parse in (SINGLE, LEAVES, CHOICE):
        answer = parse(said(text))
        assert answer.value in NAMES if answer.value is not None else answer.problem


@given(texts)
def test_a_set_of_labels_is_a_subset_without_repeats(text: str) -> None:
    answer = MULTI(said(text))

    if answer.value is None:
        assert answer.problem
    else:
        assert set(answer.value) <= set(NAMES)
        assert len(set(answer.value)) == len(answer.value)


@given(texts | st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
def test_an_object_can_be_stored(text: str) -> None:
    answer = OBJECT(said(text))

    if answer.value is not None:
        json.dumps(answer.value, ensure_ascii=False).encode()
    answer.problem.encode()


@given(st.sampled_from(NAMES), st.sampled_from(["{}", " {}\n", '"{}"', "`{}`", "```\n{}\n```"]))
def test_every_label_comes_back_as_itself(name: str, form: str) -> None:
    assert SINGLE(said(form.format(name))).value == name
    assert SINGLE(said(json.dumps({"label": name}))).value == name
    assert MULTI(said(json.dumps({"labels": [name]}))).value == [name]
