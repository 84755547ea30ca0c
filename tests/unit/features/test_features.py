import numpy as np

from pipeline.features.features import LONG, Features
from pipeline.features.hashing import HashingEncoder
from schemas.ids import QueryId
from schemas.records import Assignment, Query


def query(text: str) -> Query:
    return Query(query_id=QueryId("q"), text=text)


def in_category(path: str, score: float = 0.5) -> Assignment:
    return Assignment(category=path, score=score, familiar=True, source="fast")


def test_a_row_holds_one_length_category_and_words() -> None:
    encoder = HashingEncoder(dimensions=16)
    features = Features(encoder, ["a", "a/b"])
    texts = ["some words", "x" * LONG]
    rows = features.matrix([query(text) for text in texts], [in_category("a/b"), in_category("")])
    assert rows.shape == (2, features.dimensions) == (2, 3 + 2 + 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(
        rows[:, :5], [[1, 10 / LONG, np.log1p(10 / LONG), 0, 0.5], [1, 1, np.log(2), 0, 0]], rtol=1e-6
    )
    np.testing.assert_array_equal(rows[:, 5:], encoder.encode(texts))


def test_another_taxonomy_or_encoder_is_another_version() -> None:
    versions = {
        Features(HashingEncoder(dimensions=size), paths).version
        for size in (16, 32)
        for paths in ([], ["a"], ["a", "b"], ["b", "a"])
    }
    assert len(versions) == 8


def test_no_queries_have_no_rows() -> None:
    features = Features(HashingEncoder(dimensions=16), ["a"])
    assert features.matrix([], []).shape == (0, features.dimensions)
