"""The encoder around its library, which stands in here: the weights are 90 MB."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline.features.minilm import MODEL, MiniLMEncoder
from schemas.errors import MissingExtra


class SentenceTransformer:
    def __init__(self, name: str, device: str) -> None:
        assert (name, device) == (MODEL, "cpu")

    def get_sentence_embedding_dimension(self) -> int:
        return 384

    def encode(self, texts: list[str], normalize_embeddings: bool, show_progress_bar: bool) -> Any:
        assert normalize_embeddings
        rows = np.array([np.random.default_rng(len(text)).standard_normal(384) for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_are_float32_of_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    encoder = MiniLMEncoder()
    rows = encoder.encode(["one", "two texts"])
    assert (rows.shape, str(rows.dtype), encoder.dimensions) == ((2, 384), "float32", 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_without_its_package_the_way_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra) as caught:
        MiniLMEncoder()
    assert caught.value.fix == "pip install 'tierwise[minilm]'"
