"""Routing by the taxonomy alone: one model per category, by a table of how often each is right there."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.choosing import Fitted, cross_fitted, prices
from pipeline.router.observed import Matrix, Observed, Tried, Vector, asked_once

_SMOOTH = 32.0  # answers a category's accuracy is shrunk by, towards the model's own


@dataclass(frozen=True, slots=True)
class SuitableRoute:
    """Asks the model that maximises suitability - cost / price in the category (EMAFusion, arXiv 2504.10681)."""

    suitability: Matrix  # [categories + 1, m] P(correct); the last row: a category unseen in fitting, or none
    cost: Vector  # [m] USD a call
    price: float

    @property
    def models(self) -> tuple[int, ...]:
        return tuple(range(len(self.cost)))

    def run(self, rows: Observed) -> Tried:
        best = np.argmax(self.suitability - self.cost / self.price, axis=1)
        unknown = (rows.category < 0) | (rows.category >= len(best) - 1)
        return asked_once(rows, best[np.where(unknown, -1, rows.category)])


def fit_suitability(rows: Observed) -> Fitted:
    """One rule per price; what each got is cross-fitted."""
    return cross_fitted(_routes, rows)


def suitability(rows: Observed) -> Matrix:
    """[categories + 1, m]: shares of right answers, shrunk towards the model's own."""
    overall = rows.correct.mean(axis=0)
    table = np.tile(overall, (int(rows.category.max()) + 2, 1))
    for category in np.unique(rows.category[rows.category >= 0]):
        right = rows.correct[rows.category == category]
        table[category] = (right.sum(axis=0) + _SMOOTH * overall) / (len(right) + _SMOOTH)
    return table


def _routes(rows: Observed) -> list[SuitableRoute]:
    table, cost = suitability(rows), rows.cost.mean(axis=0)
    return [SuitableRoute(table, cost, float(price)) for price in prices(rows)]
