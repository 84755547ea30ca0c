"""What columns are for, from a few rows of awkward files."""

import pytest

from pipeline.sources import UNREADABLE, Row
from pipeline.submit.guess import guess

MESSAGES = ["where is my parcel", "the invoice is wrong", "please cancel my plan", "the lamp does not work"]


def rows(**columns: list[object]) -> list[Row]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_by_what_is_in_the_columns() -> None:
    found = guess(rows(a=[7, 8, 9, 10], b=MESSAGES, c=["x", "y", "x", "x"]))
    assert (found.text, found.id, found.label, found.labels) == ("b", "a", "c", ("x", "y"))


def test_a_telling_name_decides_between_equals() -> None:
    found = guess(rows(note=MESSAGES, Body=MESSAGES, kind=["u", "v"] * 2, Gold_Label=["x", "y"] * 2))
    assert (found.text, found.label) == ("Body", "Gold_Label")


def test_what_repeats_is_no_id() -> None:
    assert guess(rows(id=[1, 1, 2, 3], text=MESSAGES)).id is None


def test_a_telling_name_may_repeat_now_and_then_and_amounts_are_no_ids() -> None:
    numbers = [*range(1, 40), 1]
    found = guess(rows(price=[f"{n},{n + 10}" for n in range(40)], nr=numbers, text=MESSAGES * 10))
    assert found.id == "nr"
    assert guess(rows(price=["1.50", "2.25", "3.75", "4.10"], text=MESSAGES)).id is None
    assert guess(rows(code=numbers, text=MESSAGES * 10)).id is None


def test_every_value_another_is_no_label() -> None:
    found = guess(rows(text=MESSAGES, label=["a", "b", "c", "d"]))
    assert (found.label, found.labels) == (None, ())


def test_one_value_is_no_label() -> None:
    assert guess(rows(text=MESSAGES, label=["a"] * 4)).label is None


def test_what_is_said_is_taken() -> None:
    found = guess(
        rows(text=MESSAGES, other=MESSAGES, kind=["u", "v"] * 2, label=["x", "y"] * 2),
        text="other",
        label="kind",
    )
    assert (found.text, found.label, found.labels) == ("other", "kind", ("u", "v"))


@pytest.mark.parametrize(
    "broken", [[], [{UNREADABLE: "line 3: 2 cells, the header has 5"}], [{"text": None}]]
)
def test_nothing_to_see(broken: list[Row]) -> None:
    found = guess(broken)
    assert (found.text, found.id, found.label) == (None, None, None)
