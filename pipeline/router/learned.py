"""Routing before any call: one model per query, by predicted P(correct) and predicted cost, kept apart."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.choosing import Fitted, cross_fitted, prices
from pipeline.router.logistic import fit_logistic, sigmoid
from pipeline.router.observed import Matrix, Observed, Tried, Vector, asked_once

_FREE, _FIRM = 0.01, 2.0  # precision of the constant's prior, and of the others'


@dataclass(frozen=True, slots=True)
class LearnedRoute:
    """Asks the model that maximises P(correct) - cost / price. A new price of a model needs no relearning."""

    weights: Matrix  # [m, d + 1] of P(correct)
    cost: Vector  # [m] USD a call
    price: float

    @property
    def models(self) -> tuple[int, ...]:
        return tuple(range(len(self.cost)))

    def run(self, rows: Observed) -> Tried:
        return asked_once(rows, np.argmax(chances(self.weights, rows) - self.cost / self.price, axis=1))


def fit_learned(rows: Observed) -> Fitted:
    """One rule per price; what each got is cross-fitted, since a text's own label tells its answer."""
    return cross_fitted(_routes, rows)


def fit_chances(rows: Observed) -> Matrix:
    """[m, d + 1] weights of each model's P(correct) before any call."""
    x = rows.inputs
    precision = np.full(x.shape[1], _FIRM)
    precision[0] = _FREE
    return np.stack([fit_logistic(x, rows.correct[:, model], precision) for model in range(rows.models)])


def chances(weights: Matrix, rows: Observed) -> Matrix:
    """[n, m] P(correct) of every model, from the text alone."""
    return sigmoid(rows.inputs @ weights.T)


def _routes(rows: Observed) -> list[LearnedRoute]:
    weights = fit_chances(rows)
    return [LearnedRoute(weights, rows.cost.mean(axis=0), float(price)) for price in prices(rows)]
