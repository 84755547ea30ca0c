"""Vectors that an endpoint was paid for: made before a batch is planned, kept in the lake, never made again."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.records import Query


class StoredVectors:
    """Reads what queries bring along; one that brings nothing is the zero vector: its length and category speak."""

    def __init__(self, *, model: str, dimensions: int, shortened: bool = True) -> None:
        """The model's name says what its vectors are, whoever serves it."""
        self.dimensions = dimensions
        self.version = f"openai-1:{model}:{dimensions}{'' if shortened else ':projected'}"

    def read(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Array of shape (len(queries), dimensions), rows of length 1 or 0."""
        nothing = bytes(4 * self.dimensions)
        joined = b"".join([query.vector or nothing for query in queries])
        return np.frombuffer(joined, dtype=np.float32).reshape(len(queries), self.dimensions)


def packed(column: pa.ListArray) -> list[bytes]:
    """Vectors of a table as queries bring them along; nothing for null."""
    whole = column.take(
        pa.array(np.arange(len(column)))
    )  # a slice begins somewhere, and a null may hide values
    flat = whole.values.to_numpy()
    return [flat[start:end].tobytes() for start, end in pairwise(whole.offsets.to_pylist())]
