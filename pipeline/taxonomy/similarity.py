"""The fast classifier: cosine between a query and each category's description and examples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.ports.encoder import Encoder
from pipeline.taxonomy.tree import Node

SHARPNESS = 8.0  # of the softmax over cosines


class SimilarityClassifier:
    """p_fast of EMAFusion (arXiv 2504.10681, §3.1): the best match of a category stands for it."""

    def __init__(self, nodes: Sequence[Node], encoder: Encoder) -> None:
        self._encoder = encoder
        owners = [index for index, node in enumerate(nodes) for _ in node.texts]
        texts = [text for node in nodes for text in node.texts]
        self._owners = np.array(owners, dtype=np.int64)
        self._nodes = len(nodes)
        self._known = encoder.encode(texts) if texts else np.zeros((0, encoder.dimensions), np.float32)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Array of shape (texts, nodes), rows summing to 1."""
        best = np.full((len(texts), self._nodes), -1.0, dtype=np.float32)
        if len(self._owners):
            cosines = self._encoder.encode(texts) @ self._known.T
            for column, owner in enumerate(self._owners):
                np.maximum(best[:, owner], cosines[:, column], out=best[:, owner])
        weights = np.exp(SHARPNESS * (best - best.max(axis=1, keepdims=True)))
        shares: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
        return shares
