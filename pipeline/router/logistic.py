"""Logistic regression with a Gaussian prior, by Newton's method: small, exact, the same on every machine."""

import numpy as np

from pipeline.router.observed import Matrix, Vector

STEPS = 25
_FLAT = 1e-9
_FAR = 12.0  # log-odds beyond which a model's own word says nothing more
_CLOSE = 1e-6


def logit(probability: Vector) -> Vector:
    """Log-odds, cut at ±12; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        odds: Vector = np.log(probability) - np.log1p(-probability)
    return np.clip(odds, -_FAR, _FAR)


def sigmoid(odds: Vector) -> Vector:
    result: Vector = 1 / (1 + np.exp(-odds))
    return result


def fit_logistic(
    x: Matrix,
    y: Vector,
    precision: Vector,
    mean: Vector | None = None,
    start: Vector | None = None,
    counts: Vector | None = None,
) -> Vector:
    """Weights [d] that maximise the posterior: y [n] in 0..1, x [n, d], prior N(mean, 1/precision) per weight.
    counts: [n] what each row counts; None: one each."""
    times = np.ones(len(x)) if counts is None else counts
    prior = np.zeros(x.shape[1]) if mean is None else mean
    weights = (prior if start is None else start).copy()
    for _ in range(STEPS):
        fitted = sigmoid(x @ weights)
        gradient = x.T @ (times * (y - fitted)) - precision * (weights - prior)
        curvature = (x * (times * fitted * (1 - fitted))[:, None]).T @ x + np.diag(precision + _FLAT)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if float(np.abs(step).max()) < _CLOSE:
            break
    return weights
