"""The columns of the lake: money exactly, one schema per table."""

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import BATCH_TABLES, TABLES, TIME, USD, describe, usd_column

MOST = 10**18 - 1


@given(st.lists(st.integers(-MOST, MOST)))
def test_money_from_integers_is_money_from_decimals(nanos: list[int]) -> None:
    expected = pa.array([Decimal(nano).scaleb(-9) for nano in nanos], USD)

    column = usd_column(nanos)

    column.validate(full=True)
    assert column.equals(expected)


def test_money_at_its_edges() -> None:
    assert usd_column([]).to_pylist() == []
    assert usd_column([0, 1, -1]).to_pylist() == [Decimal("0E-9"), Decimal("1E-9"), Decimal("-1E-9")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_types_its_names_promise(name: str) -> None:
    schema = TABLES[name]

    assert len(set(schema.names)) == len(schema.names)
    for field in schema:
        assert (field.type == USD) == field.name.endswith("_usd"), field
        assert (field.type == TIME) == field.name.endswith("_at"), field
        assert describe(field), field
        assert (field.type == pa.int64()) or not field.name.endswith("_tokens"), field
    assert describe(schema)
    empty = schema.empty_table()
    assert empty.schema.equals(schema)


@pytest.mark.parametrize("name", BATCH_TABLES)
def test_what_a_batch_writes_says_where_it_comes_from(name: str) -> None:
    keys = {"job", "generation", "asked_in", "batch", "query_id"}

    assert keys <= set(TABLES[name].names)


def test_results_have_the_columns_of_the_contract() -> None:
    names = TABLES["results"].names

    assert names[:9] == [
        "job", "generation", "asked_in", "batch", "query_id", "status", "answer", "confidence", "tier",
    ]  # fmt: skip
