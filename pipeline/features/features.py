"""What routing knows of a query before any call: its length, its category, its words."""

import hashlib
from collections.abc import Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

from pipeline.features.stored import StoredVectors
from pipeline.ports.encoder import Encoder
from schemas.records import Assignment, Query

LONG = 4000  # characters that count as a length of 1


class Features:
    """Columns: 1, length, log of length, the score of each category, the text's encoding."""

    def __init__(self, encoder: Encoder | StoredVectors, categories: Sequence[str]) -> None:
        """categories: paths in the order of their columns; a query of none of them scores 0 in all."""
        self.categories = tuple(categories)
        self._column = {path: number for number, path in enumerate(categories, start=3)}
        self.encoder = encoder
        self.dimensions = 3 + len(categories) + encoder.dimensions
        known = hashlib.sha256("\n".join(categories).encode()).hexdigest()[:8]
        self.version = f"features-1:{known}:{encoder.version}"

    def matrix(self, queries: Sequence[Query], assigned: Sequence[Assignment]) -> NDArray[np.float32]:
        """Array of shape (len(queries), dimensions). Of an assignment only category and score are read."""
        made = np.zeros((len(queries), self.dimensions), dtype=np.float32)
        lengths = [len(query.text) / LONG for query in queries]
        made[:, 0] = 1
        made[:, 1] = lengths
        made[:, 2] = list(map(log1p, lengths))
        for row, each in enumerate(assigned):
            if column := self._column.get(each.category):
                made[row, column] = each.score
        made[:, 3 + len(self.categories) :] = self._vectors(queries)
        return made

    def _vectors(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        if isinstance(self.encoder, StoredVectors):
            return self.encoder.read(queries)
        return self.encoder.encode([query.text for query in queries])
