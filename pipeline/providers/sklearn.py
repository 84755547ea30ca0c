"""A tier that is a linear classifier over word and character n-grams, trained when it is made."""

from collections.abc import Sequence

import numpy as np

from pipeline.providers.local import Guess, LocalTier
from pipeline.providers.ngrams import Ngrams, fit_grams
from pipeline.providers.softmax import Model, fit, fit_many, training_hash

_SURE = 0.5  # P(label) from which a label is among the answers of a multi-label tier


class SklearnTier(LocalTier):
    """TF-IDF of word 1-2-grams and character 3-5-grams under a multinomial logistic regression.

    `labels` holds one label per text, or with `multiple` a list of them (one binary model per label, of which
    those with P >= .5 are the answer). Confidence is a probability, calibrated on a held-out fifth of the
    training texts; with `multiple` the product over all labels. Training takes seconds and blocks: make it in
    a thread. Deterministic: the same texts in the same order give the same model. Raises ValueError for fewer
    than two labels.
    """

    def __init__(
        self,
        *,
        texts: Sequence[str],
        labels: Sequence[str] | Sequence[Sequence[str]],
        multiple: bool = False,
    ) -> None:
        super().__init__(model=f"sklearn-1:{training_hash(texts, labels, multiple)}")
        self._multiple = multiple
        words, chars, matrix = fit_grams(texts)
        self._ngrams = Ngrams(words, chars)
        self._model: Model = fit_many(matrix, texts, labels) if multiple else fit(matrix, texts, labels)[0]

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        return [self._guess(text) for text in texts]

    def _guess(self, text: str) -> Guess:
        features, values = self._ngrams.row(text)
        chances = self._model.chances(features, values)
        if not self._multiple:
            best = int(chances.argmax())
            return Guess(self._model.names[best], float(chances[best]))
        sure = chances >= _SURE
        names = [name for name, is_in in zip(self._model.names, sure, strict=True) if is_in]
        return Guess(names, float(np.where(sure, chances, 1.0 - chances).prod()))
