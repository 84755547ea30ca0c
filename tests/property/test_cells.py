"""Cells of a spreadsheet: never a formula, and read back as they were."""

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.review.cells import guard, unguard

FORMULAS = "=+-@＝＋－＠"
TEXTS = st.text(st.sampled_from("'=+-@ \t\r\n\0＝a1\"," + "\u2003")) | st.text()


@given(TEXTS)
@example("=cmd|' /C calc'!A0")
@example("'=1")
@example(" =1")
@example("-5")
def test_a_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = guard(text)

    assert cell.lstrip()[:1] not in tuple(FORMULAS)
    assert cell[:1] not in ("\t", "\r", "\n")
    assert unguard(cell) == text


@given(st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=1))
def test_a_row_comes_back_from_a_file(texts: list[str]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerow(map(guard, texts))
    file.seek(0)

    [cells] = csv.reader(file)

    assert [unguard(cell) for cell in cells] == texts


@given(TEXTS)
def test_what_a_person_typed_stays(text: str) -> None:
    if not text.startswith("'"):
        assert unguard(text) == text
