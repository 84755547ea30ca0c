"""Tolerant of form, strict about what counts as an answer."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from pipeline.task.parse import parser_of
from schemas.job import Task
from schemas.records import Answer, Completion, FinishReason

TASK: TypeAdapter[Any] = TypeAdapter(Task)


def parse(text: str, finish_reason: FinishReason = "stop", **spec: Any) -> Answer:
    task = TASK.validate_python({"kind": "classify", **spec})
    return parser_of(task)(Completion(text=text, finish_reason=finish_reason, confidence=0.5))


SUPPORT = ["billing", "account_access", "refund", "refund request", "other"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("billing", "billing"),
        ("Billing", "billing"),
        ("BILLING.", "billing"),
        ('"billing"', "billing"),
        ("'billing'", "billing"),
        ("`billing`", "billing"),
        ("**billing**", "billing"),
        ("  billing\n", "billing"),
        ("```\nbilling\n```", "billing"),
        ("```text\nbilling\n```", "billing"),
        ("```billing```", "billing"),
        ('```json\n{"label": "billing"}\n```', "billing"),
        ('{"label": "billing"}', "billing"),
        ('{"label":"BILLING"}', "billing"),
        ('{"labels": ["billing"]}', "billing"),
        ('["billing"]', "billing"),
        ('{"topic": "billing"}', "billing"),
        ('Sure! Here it is: {"label": "billing"} Hope it helps.', "billing"),
        ("Label: billing", "billing"),
        ("label = billing", "billing"),
        ("The label is billing", "billing"),
        ("The final answer is: billing.", "billing"),
        ("**Label:** billing", "billing"),
        ("- billing", "billing"),
        ("This message is about billing, I think.", "billing"),
        ("account access", "account_access"),
        ("Account-Access", "account_access"),
        ("refund", "refund"),
        ("Refund Request", "refund request"),
        ("It is a refund request.", "refund request"),
        ("It is a refund.", "refund"),
    ],
)
def test_one_label_in_many_forms(text: str, label: str) -> None:
    answer = parse(text, labels=SUPPORT)

    assert answer == Answer(value=label, confidence=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "shipping",
        "billing or refund",
        "refund, or maybe a refund request",
        "billings",
        "prebilling",
        '{"label": "shipping"}',
        '{"label": null}',
        '{"label": ["billing", "refund"]}',
        '""',
        "{}",
        "[]",
        "null",
        "42",
        "labelling",
        "billing " + "and so on " * 30,
        "[" * 5000,
        '{"label":' * 2000,
    ],
)
def test_what_names_no_single_label_is_outside_the_set(text: str) -> None:
    answer = parse(text, labels=[*SUPPORT, "ling"])

    assert answer.value is None
    assert answer.problem.startswith("outside the label set: ")
    assert len(answer.problem) < 200


@pytest.mark.parametrize(
    ("finish_reason", "problem"),
    [
        ("length", "truncated"),
        ("refusal", "refused"),
        ("content_filter", "refused"),
        ("malformed", "malformed reply"),
    ],
)
def test_a_reply_that_did_not_end_well_is_no_answer(finish_reason: FinishReason, problem: str) -> None:
    assert parse("billing", finish_reason, labels=SUPPORT) == Answer(value=None, problem=problem)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_reply(text: str) -> None:
    assert parse(text, labels=SUPPORT) == Answer(value=None, problem="empty")


@pytest.mark.parametrize(
    ("labels", "text", "label"),
    [
        (["A", "A*", "B"], '{"label": "A"}', "A"),
        (["A", "A*", "B"], '{"label": "A*"}', "A*"),
        (["A", "A*", "B"], "a*", "A*"),
        (["e-mail", "e mail"], '{"label": "e-mail"}', "e-mail"),
        (["e-mail", "e mail"], "E_MAIL", None),
        (["C", "C++", "C#"], "It is written in C++.", "C++"),
        (["C", "C++", "C#"], "It is C.", "C"),
        (["C", "C++", "C#"], "C# or C++", None),
        (["1", "2", "3", "4", "5"], "Rating: 4", "4"),
        (["1", "2", "3", "4", "5"], '{"label": "4"}', "4"),
        (["1", "2", "3", "4", "5"], "4.", "4"),
        (["1", "2", "3", "4", "5"], "4 out of 5", None),
        (["1", "2", "3", "4", "5"], "I say 3.7", None),
        (["1", "2", "3", "4", "5"], "It is 0.5", None),
        (["0", "1"], "-1", None),
        (["0", "1"], "10", None),
        (["-1", "0", "1"], "The score is -1.", "-1"),
        (["-1", "0", "1"], "1", "1"),
        (["...", "x"], '""', None),
        (["...", "x"], "...", "..."),
        (["yes", "no"], "No", "no"),
        (["yes", "no"], "nothing", None),
        (["Größe", "Preis"], "GRÖSSE", "Größe"),
        (["Größe", "Preis"], "Es geht um die Größe.", "Größe"),
        (["東京", "大阪"], "東京", "東京"),
        (["label", "other"], "label", "label"),
        (["label", "other"], "Label: other", "other"),
        (["action", "class action"], "class action", "class action"),
        (["one two", "two three"], "one two three", None),
    ],
)
def test_labels_that_are_alike(labels: list[str], text: str, label: str | None) -> None:
    assert parse(text, labels=labels).value == label


def test_the_abstaining_label_is_marked() -> None:
    assert parse("other", labels=SUPPORT, abstain="other").abstained
    assert not parse("billing", labels=SUPPORT, abstain="other").abstained
    assert not parse("other", labels=SUPPORT).abstained


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("animal/dog", "animal/dog"),
        ("dog", "animal/dog"),
        ("Dog.", "animal/dog"),
        ("orange", None),
        ("fruit/orange", "fruit/orange"),
        ("animal", None),
        ("fruit", "fruit"),
        ("pear/dog", None),
    ],
)
def test_a_leaf_alone_is_enough_where_it_is_the_only_one(text: str, label: str | None) -> None:
    labels = ["animal/dog", "fruit/orange", "colour/orange", "fruit"]

    assert parse(text, labels=labels, mode="hierarchical").value == label


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('{"labels": ["b", "a"]}', ["a", "b"]),
        ('["a", "a"]', ["a"]),
        ("a, b", ["a", "b"]),
        ("- a\n- c", ["a", "c"]),
        ('"A"', ["a"]),
        ('```json\n{"labels": ["c"]}\n```', ["c"]),
        ('{"labels": []}', []),
        ('{"labels": ["a", "z"]}', None),
        ('{"labels": ["a", 1]}', None),
        ("a and b", None),
    ],
)
def test_sets_of_labels(text: str, chosen: list[str] | None) -> None:
    answer = parse(text, labels=["a", "b", "c"], mode="multi")

    assert answer.value == chosen
    assert (answer.value is None) == answer.problem.startswith("outside the label set")


def test_sets_keep_labels_apart_that_fold_alike_and_abstain_when_empty() -> None:
    assert parse('["A"]', labels=["A", "A*"], mode="multi").value == ["A"]
    none = parse('{"labels": []}', labels=["a", "b", "none"], mode="multi", abstain="none")
    assert (none.value, none.abstained) == (["none"], True)


INVOICE = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "who": {"type": "string"}},
    "required": ["total"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "value", "problem"),
    [
        ('{"total": 1.5, "who": "x"}', {"total": 1.5, "who": "x"}, ""),
        ('Here: ```json\n{"total": 1}\n```', {"total": 1}, ""),
        ('{"total": "1"}', None, "does not follow the schema at $.total"),
        ('{"who": "x"}', None, "does not follow the schema at $: "),
        ('{"total": 1, "tax": 2}', None, "does not follow the schema"),
        ("[1]", None, "holds no JSON object"),
        ("no idea", None, "holds no JSON object"),
        ('{"total": 1, "who": "\\ud83d"}', None, "not Unicode"),
    ],
)
def test_an_extracted_object_follows_its_schema(text: str, value: Any, problem: str) -> None:
    answer = parse(text, kind="extract", schema=INVOICE)

    assert answer.value == value
    assert problem in answer.problem


def test_choices_are_taken_as_written_and_free_text_as_it_is() -> None:
    assert parse("the second", kind="answer", choices=["The first", "The second"]).value == "The second"
    assert parse("the third", kind="answer", choices=["The first", "The second"]).value is None
    assert parse('  {"x": 1} \n', kind="answer").value == '{"x": 1}'
