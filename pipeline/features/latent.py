"""Latent semantic features: hashed word n-grams, weighted by rarity, projected on what varies most."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.features.hashing import HashingEncoder

_BUCKETS = 4096


class LatentEncoder:
    """Fitted on texts alone, no label seen (Deerwester et al. 1990, with inverse document frequency).

    Words that go together share a direction, so a few dozen numbers say most of what thousands of buckets say: what a
    few hundred labels can be learned from. Words found in every text (a common prompt) weigh nothing.
    """

    def __init__(self, texts: Sequence[str], *, dimensions: int = 32) -> None:
        from sklearn.utils.extmath import randomized_svd

        self._hashing = HashingEncoder(dimensions=_BUCKETS)
        hashed = self._hashing.encode(texts)
        seen = np.count_nonzero(hashed, axis=0)
        self._rarity = np.log((1 + len(texts)) / (1 + seen)).astype(np.float32)
        kept = min(dimensions, len(texts) - 1)
        self._axes = randomized_svd(self._weighted(hashed), kept, random_state=0)[2]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Array of shape (len(texts), dimensions), rows of length at most 1."""
        projected = self._weighted(self._hashing.encode(texts)) @ self._axes.T
        features: NDArray[np.float64] = projected.astype(np.float64)
        return features

    def _weighted(self, hashed: NDArray[np.float32]) -> NDArray[np.float32]:
        weighted = hashed * self._rarity
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        scaled: NDArray[np.float32] = weighted / np.where(length > 0, length, 1)
        return scaled
