"""What models did on the same queries, as matrices: the material that policies are fitted and judged on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Rows = NDArray[np.intp]
Codes = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observed:
    """n queries, m models. One row a query, one column a model; every model was asked every query.

    Equal only to itself, so that what was fitted on it can be remembered.
    """

    correct: Matrix  # [n, m] in 0..1
    cost: Matrix  # [n, m] USD a call
    score: Matrix  # [n, m] the model's own confidence in 0..1; NaN where none was recorded
    answer: Codes  # [n, m] equal answers have equal codes; -1: none recorded
    features: Matrix  # [n, d] of the text, rows of length at most 1
    category: Codes  # [n] of the taxonomy or as recorded; -1: none

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def models(self) -> int:
        return int(self.correct.shape[1])

    @property
    def inputs(self) -> Matrix:
        """[n, d + 1]: the features behind a column of ones."""
        return np.column_stack([np.ones(len(self)), self.features])

    def take(self, rows: Rows) -> "Observed":
        return Observed(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What a rule got on n queries."""

    correct: Vector  # [n] of the answer that stands
    cost: Vector  # [n] USD, every call included
    calls: Vector  # [n]


def asked_once(rows: Observed, models: Rows) -> Tried:
    """One call a query, to the model [n] chosen for it."""
    at = np.arange(len(rows))
    return Tried(correct=rows.correct[at, models], cost=rows.cost[at, models], calls=np.ones(len(rows)))


def joined(parts: Sequence[tuple[Rows, Tried]], count: int) -> Tried:
    """Parts of one table (out-of-fold runs), put back into its order."""
    correct, cost, calls = np.zeros(count), np.zeros(count), np.zeros(count)
    for rows, tried in parts:
        correct[rows], cost[rows], calls[rows] = tried.correct, tried.cost, tried.calls
    return Tried(correct=correct, cost=cost, calls=calls)
