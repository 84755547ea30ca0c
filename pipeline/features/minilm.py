"""Sentence embeddings by all-MiniLM-L6-v2, in this process: alike is what means the same, whatever its words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MissingExtra

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class MiniLMEncoder:
    """384 dimensions; reads a text's first 256 word pieces. Loads 90 MB of weights, the first time from the hub."""

    def __init__(self, model: str = MODEL) -> None:
        """model: a name on the hub, or a folder."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtra(feature="The encoder minilm", package="'tierwise[minilm]'") from None
        self._model = SentenceTransformer(model, device="cpu")
        self.dimensions = int(self._model.get_sentence_embedding_dimension())
        self.version = f"minilm-1:{model}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Array of shape (len(texts), dimensions), rows L2-normalised."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        rows = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)
