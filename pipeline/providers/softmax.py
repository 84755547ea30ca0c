"""Logistic models over sparse features, with one temperature fitted on texts held out of training."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_STRENGTH = 10.0  # inverse regularisation; text wants little
_FOLD = 5  # one text in five calibrates
_FEWEST = 50  # held-out texts below which a temperature would be noise
_TEMPERATURES = np.geomspace(0.25, 4.0, 81)


class Model(msgspec.Struct, frozen=True):
    """Linear scores to probabilities."""

    names: list[str]
    weights: Floats  # (features, names)
    bias: Floats  # (names,)
    temperature: float
    multiple: bool

    def chances(self, features: NDArray[np.intp], values: Floats) -> NDArray[np.float64]:
        """P(name) of one row given by its non-zero features."""
        scores = values @ self.weights[features] + self.bias
        chances = _chances(scores[np.newaxis, :] / self.temperature, self.multiple)
        return chances.reshape(-1)


def training_hash(texts: Sequence[str], labels: Sequence[Any], multiple: bool) -> str:
    """Names the training data, in order."""
    digest = blake2b(b"many" if multiple else b"one", digest_size=6)
    for text, label in zip(texts, labels, strict=True):
        digest.update(msgspec.json.encode([text, label]))
    return digest.hexdigest()


class Held(msgspec.Struct, frozen=True):
    """What a model fitted without them says of the rows that were held out, at the temperature they gave."""

    rows: NDArray[np.intp]
    chances: NDArray[np.float64]  # (rows, names)


def fit(
    matrix: Any,
    texts: Sequence[str],
    labels: Sequence[Any],
    weights: Floats | None = None,
    fair: NDArray[np.bool_] | None = None,
) -> tuple[Model, Held | None]:
    """One label per row; what was held out of the fair rows, where that was enough."""
    names = sorted(set(labels))
    if len(names) < 2:
        raise ValueError(f"training needs two labels or more, found {names}")
    index = {name: position for position, name in enumerate(names)}
    truth = np.eye(len(names), dtype=bool)[[index[label] for label in labels]]
    return _calibrated(matrix, texts, names, truth, weights, fair, multiple=False)


def fit_many(matrix: Any, texts: Sequence[str], labels: Sequence[Sequence[str]]) -> Model:
    """Any number of labels per row."""
    names = sorted({label for row in labels for label in row})
    if not names:
        raise ValueError("training needs a label or more, found none")
    truth = np.array([[name in set(row) for name in names] for row in labels], dtype=bool)
    return _calibrated(matrix, texts, names, truth, None, None, multiple=True)[0]


def _calibrated(
    matrix: Any,
    texts: Sequence[str],
    names: list[str],
    truth: NDArray[np.bool_],
    weights: Floats | None,
    fair: NDArray[np.bool_] | None,
    *,
    multiple: bool,
) -> tuple[Model, Held | None]:
    weights = np.ones(len(texts), dtype=np.float32) if weights is None else weights
    held = np.array([_held_out(text) for text in texts]) & (True if fair is None else fair)
    temperature, said = 1.0, None
    if held.sum() >= _FEWEST and truth[~held].any(axis=0).sum() >= 2:
        slopes, bias = _weights(matrix[~held], truth[~held], weights[~held], multiple)
        scores = matrix[held] @ slopes + bias
        temperature = _temperature(scores, truth[held], weights[held], multiple)
        said = Held(np.flatnonzero(held), _chances(scores / temperature, multiple))
    slopes, bias = _weights(matrix, truth, weights, multiple)
    return Model(names, slopes, bias, temperature, multiple), said


def _held_out(text: str) -> bool:
    """By the text itself, so that equal texts stay on one side."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()[0] % _FOLD == 0


def _weights(matrix: Any, truth: NDArray[np.bool_], counts: Floats, multiple: bool) -> tuple[Floats, Floats]:
    """Weights (features, names) and bias (names,); a name that never occurs gets a bias of minus infinity."""
    if multiple:
        columns = [_binary(matrix, truth[:, name], counts) for name in range(truth.shape[1])]
        return np.stack([column for column, _ in columns], axis=1), np.array(
            [bias for _, bias in columns], "f4"
        )
    present = np.flatnonzero(truth.any(axis=0))
    model = _regression().fit(matrix, truth.argmax(axis=1), counts)
    weights = np.zeros((matrix.shape[1], truth.shape[1]), dtype=np.float32)
    bias = np.full(truth.shape[1], -1e9, dtype=np.float32)
    if len(present) == 2:  # scikit-learn keeps one column for two classes
        weights[:, present[1]] = model.coef_[0]
        bias[present] = [0.0, model.intercept_[0]]
    else:
        weights[:, present] = model.coef_.T
        bias[present] = model.intercept_
    return weights, bias


def _binary(matrix: Any, truth: NDArray[np.bool_], counts: Floats) -> tuple[Floats, float]:
    if truth.all() or not truth.any():
        return np.zeros(matrix.shape[1], dtype=np.float32), 20.0 if truth.all() else -20.0
    model = _regression().fit(matrix, truth, counts)
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_STRENGTH, solver="lbfgs", max_iter=200, tol=1e-3)


def _temperature(scores: Floats, truth: NDArray[np.bool_], counts: Floats, multiple: bool) -> float:
    """The one that makes the held-out labels likeliest (Guo et al., arXiv 1706.04599)."""

    def loss(temperature: float) -> float:
        chances = _chances(scores / temperature, multiple)
        likely = np.where(truth, chances, 1.0 - chances) if multiple else chances[truth]
        lost = -np.log(np.maximum(likely, 1e-9))
        return float(np.average(lost if lost.ndim == 1 else lost.mean(axis=1), weights=counts))

    return float(min(_TEMPERATURES, key=loss))


def _chances(scores: NDArray[Any], multiple: bool) -> NDArray[np.float64]:
    scores = scores.astype(np.float64)
    if multiple:
        powers = np.exp(np.clip(scores, -500, 500))
        whole = 1.0 + powers
    else:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        whole = powers.sum(axis=1, keepdims=True)
    chances: NDArray[np.float64] = powers / whole
    return chances
