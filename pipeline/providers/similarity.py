"""A tier that answers with the label whose description and examples are most like the document."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.ports.encoder import Encoder
from pipeline.providers.local import Guess, LocalTier
from schemas.job import Label


class SimilarityTier(LocalTier):
    """Softmax over cosines to each label's mean vector (prototypes: Snell et al., arXiv 1703.05175, with
    cosine for distance). The confidence is a score, not a calibrated probability.

    With `multiple`, every label is an answer whose cosine comes within `margin` of the best.
    A document like no label at all gets no answer. Do not use it with labels that have neither description
    nor examples: a bare name says little.
    """

    def __init__(
        self,
        *,
        labels: Sequence[Label],
        encoder: Encoder,
        temperature: float = 0.05,
        multiple: bool = False,
        margin: float = 0.05,
    ) -> None:
        written = msgspec.json.encode(
            [
                [[label.name, label.description, label.examples] for label in labels],
                encoder.version,
                temperature,
                multiple,
                margin,
            ]
        )
        super().__init__(model=f"similarity-1:{blake2b(written, digest_size=6).hexdigest()}")
        self._names = [label.name for label in labels]
        self._encoder, self._temperature = encoder, temperature
        self._multiple, self._margin = multiple, margin
        self._prototypes = np.ascontiguousarray(
            np.stack([_prototype(label, encoder) for label in labels], axis=1)
        )  # (dimensions, labels)

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        cosines = self._encoder.encode(texts) @ self._prototypes
        best = cosines.argmax(axis=1)
        top = cosines[np.arange(len(best)), best]
        scores = np.exp((cosines - top[:, None]) / self._temperature)
        confidences = 1.0 / scores.sum(axis=1)
        return [
            self._guess(row, int(index), float(confidence))
            for row, index, confidence in zip(cosines, best, confidences, strict=True)
        ]

    def _guess(self, cosines: NDArray[np.float32], best: int, confidence: float) -> Guess:
        if cosines[best] <= 0:
            return Guess("", None)
        if not self._multiple:
            return Guess(self._names[best], confidence)
        near = np.flatnonzero(cosines >= max(cosines[best] - self._margin, 0.0))
        return Guess([self._names[index] for index in near])


def _prototype(label: Label, encoder: Encoder) -> NDArray[np.float32]:
    said = f"{label.name.replace('_', ' ')} {label.description}".strip()
    mean: NDArray[np.float32] = encoder.encode([said, *label.examples]).mean(axis=0)
    length = float(np.linalg.norm(mean))
    return mean / np.float32(length) if length else mean
