"""Hashed word n-grams: no model, no fitting, the same vector in every process."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class HashingEncoder:
    """Signed hashing of word 1- and 2-grams into `dimensions` buckets (Weinberger et al., arXiv 0902.2206).

    Captures shared words, not meaning: texts without a word in common are orthogonal up to collisions.
    A text without words is the zero vector.
    """

    def __init__(self, *, dimensions: int = 1024) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.dimensions = dimensions
        self.version = f"hashing-1:{dimensions}"
        self._vectorizer = HashingVectorizer(
            n_features=dimensions, ngram_range=(1, 2), alternate_sign=True, norm="l2", dtype=np.float32
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Array of shape (len(texts), dimensions), rows L2-normalised."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        dense: NDArray[np.float32] = self._vectorizer.transform(texts).toarray()
        return dense
