import numpy as np
import pytest

from pipeline.features.hashing import HashingEncoder


@pytest.mark.parametrize("dimensions", [64, 1024])
def test_rows_have_length_one(dimensions: int) -> None:
    encoder = HashingEncoder(dimensions=dimensions)
    rows = encoder.encode(["a first document", "another one, in two parts"])
    assert (rows.shape, str(rows.dtype), encoder.dimensions) == ((2, dimensions), "float32", dimensions)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)


def test_shared_words_are_alike_and_others_are_not() -> None:
    same, close, far = HashingEncoder(dimensions=4096).encode(
        ["the cup final was played", "the cup final was lost", "parliament debates pensions"]
    )
    assert same @ close > 0.5 > abs(same @ far)


def test_no_texts_and_no_words() -> None:
    encoder = HashingEncoder()
    assert encoder.encode([]).shape == (0, 1024)
    assert not encoder.encode([""]).any()


def test_the_version_names_the_shape() -> None:
    assert HashingEncoder(dimensions=64).version != HashingEncoder(dimensions=128).version


def test_grams_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [
        "",
        "one",
        "The CUP final, the cup!",
        "a b c dd e ff",
        "Straße 12 — déjà-vu_2 東京 İx",
        "x\ny zz\tzz",
    ]
    theirs = HashingVectorizer(n_features=1024, ngram_range=(1, 2), dtype=np.float32).transform(texts)
    np.testing.assert_array_equal(HashingEncoder().encode(texts), theirs.toarray())
