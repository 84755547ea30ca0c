"""Hashed word n-grams: no model, no fitting, the same vector in every process."""

import re
from collections.abc import Sequence
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

_words = re.compile(r"\b\w\w+\b").findall


class HashingEncoder:
    """Signed hashing of word 1- and 2-grams into `dimensions` buckets (Weinberger et al., arXiv 0902.2206).

    Captures shared words, not meaning: texts without a word in common are orthogonal up to collisions.
    A text without words is the zero vector.
    """

    def __init__(self, *, dimensions: int = 1024) -> None:
        from sklearn.feature_extraction import FeatureHasher
        from sklearn.preprocessing import normalize

        self.dimensions = dimensions
        self.version = f"hashing-1:{dimensions}"
        self._hasher = FeatureHasher(dimensions, input_type="pair", dtype=np.float32, alternate_sign=True)
        self._normalize = normalize

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Array of shape (len(texts), dimensions), rows L2-normalised."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        hashed = self._hasher.transform(zip(_grams(text), repeat(1)) for text in texts)
        dense: NDArray[np.float32] = self._normalize(hashed, copy=False).toarray()
        return dense


def _grams(text: str) -> list[str]:
    """What scikit-learn's own analyser gives for 1- and 2-grams of words, in less time."""
    words = _words(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]
