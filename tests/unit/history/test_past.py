"""Which former answers are shown with a query, and whose it may copy."""

import pytest

from pipeline.accepted import example_of
from pipeline.features.hashing import HashingEncoder
from pipeline.history.past import EXAMPLE_BYTES, Former, Past
from schemas.ids import CallId, QueryId, TierName
from schemas.records import Query


def former(query_id: str, text: str, answer: str = "a", label: str | None = None) -> Former:
    return Former(
        job="j", query_id=QueryId(query_id), text=text, answer=answer, label=label, confidence=0.9,
        tier=TierName("t"), model="m", call_id=CallId("c"),
    )  # fmt: skip


def past(*rows: Former, masked: tuple[str, ...] = ()) -> Past:
    return Past(rows, HashingEncoder(), shown=[example_of(row, masked) for row in rows])


def query(query_id: str, text: str) -> Query:
    return Query(query_id=QueryId(query_id), text=text)


def test_the_most_similar_come_last() -> None:
    look_back = past(former("1", "cats sleep"), former("2", "dogs bark all night"), former("3", "dogs bark"))
    (shown,) = look_back.with_examples([query("9", "my dogs bark")], 2)
    assert shown.examples == (("dogs bark all night", "a"), ("dogs bark", "a"))


def test_a_known_label_is_shown_in_place_of_the_answer() -> None:
    (shown,) = past(former("1", "dogs bark", "a", "b")).with_examples([query("9", "dogs bark loud")], 1)
    assert shown.examples == (("dogs bark", "b"),)


@pytest.mark.parametrize("again", [query("1", "dogs bark loudly"), query("9", "dogs bark")])
def test_no_query_is_shown_its_own_answer(again: Query) -> None:
    # Given a query that was asked before, under its id or in its words
    look_back = past(former("1", "dogs bark", label="gold"), former("2", "dogs run"))
    (shown,) = look_back.with_examples([again], 5)
    assert shown.examples == (("dogs run", "a"),)


def test_what_is_like_nothing_or_too_long_is_not_shown() -> None:
    look_back = past(former("1", "cats sleep"), former("2", "dogs " * EXAMPLE_BYTES))
    (shown,) = look_back.with_examples([query("9", "dogs bark")], 5)
    assert shown.examples == ()


def test_personal_data_is_masked_alike_in_document_and_answer() -> None:
    row = former("1", "write to ann@example.org or bob@example.org", '{"to": "bob@example.org"}')
    (shown,) = past(row, masked=("email",)).with_examples([query("9", "write to")], 1)
    assert shown.examples == (("write to [EMAIL_1] or [EMAIL_2]", '{"to": "[EMAIL_2]"}'),)


def test_the_first_leads_and_nobody_copies_a_copy() -> None:
    # Given a chain of texts, each like the one before, the last unlike the first
    texts = ["a1 b2 c3 d4 e5 f6 g7 h8", "a1 b2 c3 d4 e5 f6 g7 x8", "a1 b2 c3 d4 e5 f6 y7 x8", "other words"]
    queries = [query(str(at), text) for at, text in enumerate(texts)]
    found = past().twins(queries, 0.75)
    assert {row: twin.of for row, twin in found.items()} == {1: 0}


def test_former_answers_come_before_those_of_the_batch() -> None:
    look_back = past(former("f", "dogs bark all night"))
    found = look_back.twins([query("1", "dogs bark all night"), query("2", "dogs bark all night")], 0.95)
    assert [twin.of.query_id for twin in found.values() if isinstance(twin.of, Former)] == ["f", "f"]


def test_rejected_rows_neither_copy_nor_lead() -> None:
    bad = Query(query_id=QueryId("1"), text="dogs bark", rejected="too long")
    assert past(former("f", "dogs bark")).twins([bad], 0.9) == {}
    assert past().twins([bad, query("2", "dogs bark")], 0.9) == {}
