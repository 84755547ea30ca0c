"""Vectors that queries bring along."""

import numpy as np
import pyarrow as pa

from pipeline.features.features import Features
from pipeline.features.stored import StoredVectors, packed
from pipeline.taxonomy.tree import ROOT
from schemas.ids import QueryId
from schemas.records import Query
from schemas.tables import FEATURES


def query(vector: bytes = b"") -> Query:
    return Query(query_id=QueryId("q"), text="text", vector=vector)


def test_a_query_brings_its_vector_or_nothing() -> None:
    features = Features(StoredVectors(model="e", dimensions=2), [])
    vector = np.array([0.6, 0.8], dtype=np.float32)
    rows = features.matrix([query(vector.tobytes()), query()], [ROOT, ROOT])
    np.testing.assert_array_equal(rows[:, 3:], [vector, [0, 0]])
    assert (rows[:, 0] == 1).all()


def test_no_queries_have_no_rows() -> None:
    assert StoredVectors(model="e", dimensions=2).read([]).shape == (0, 2)


def test_what_makes_other_vectors_is_another_version() -> None:
    made = [
        StoredVectors(model=model, dimensions=size, shortened=shortened).version
        for model in ("e", "f")
        for size in (2, 3)
        for shortened in (True, False)
    ]
    assert len(set(made)) == 8


def test_vectors_of_a_table_are_what_queries_bring_along() -> None:
    rows = [[9.0, 9.0], [0.5, 1.0], None, [2.0, 3.0]]
    expected = [b"" if row is None else np.array(row, dtype=np.float32).tobytes() for row in rows]
    column = pa.array(rows, FEATURES)
    assert packed(column) == expected
    assert packed(column.slice(1, 2)) == expected[1:3]
    assert packed(column.slice(0, 0)) == []
    hidden = pa.ListArray.from_arrays(
        [0, 2, 4], pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()), mask=pa.array([True, False])
    )
    assert packed(hidden) == [b"", np.array([3, 4], dtype=np.float32).tobytes()]
