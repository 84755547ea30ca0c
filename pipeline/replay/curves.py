"""Curves of cost against accuracy, and how sure a comparison of them is: a paired bootstrap over text clusters."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.observed import Matrix, Rows, Tried, Vector

DRAWS = 1000
_ROUNDING = 1e-9  # of sums in another order


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A method's knob swept: k settings, n queries, means over repeats."""

    correct: Matrix  # [k, n]
    cost: Matrix  # [k, n] USD

    def cost_at(self, accuracy: Vector, weights: Matrix) -> Vector:
        """[b] the least USD a query that reaches accuracy [b], one for each row of weights [b, n].

        Between two settings some queries take the one and some the other, so both figures lie on the line between
        them; infinite where no setting reaches it.
        """
        return _least_cost(self.correct @ weights.T, self.cost @ weights.T, accuracy)

    def accuracy_at(self, cost: Vector, weights: Matrix) -> Vector:
        """[b] the best accuracy at USD [b] a query; minus infinity where no setting is as cheap."""
        loss = _least_cost(-(self.cost @ weights.T), -(self.correct @ weights.T), -cost)
        return -loss


def everyone(count: int) -> Matrix:
    """[1, n] weights that count each query once."""
    return np.full((1, count), 1 / count)


def resampled(clusters: Rows, seed: int = 0, draws: int = DRAWS) -> Matrix:
    """[draws, n] weights of queries whose clusters were drawn with replacement; each row sums to one."""
    count = int(clusters.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    times = drawn[:, clusters].astype(np.float64)
    weights: Matrix = times / times.sum(axis=1, keepdims=True)
    return weights


def above(ours: Curve, baseline: Tried, weights: Matrix) -> float:
    """The share of draws in which our curve costs less than the baseline at the baseline's own accuracy."""
    cheaper = ours.cost_at(weights @ baseline.correct, weights) < weights @ baseline.cost
    return float(cheaper.mean())


def interval(draws: Vector, level: float = 0.9) -> tuple[float, float]:
    """The middle `level` of what was drawn."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _least_cost(reached: Matrix, cost: Matrix, wanted: Vector) -> Vector:
    """[b] from the settings' reached [k, b] and cost [k, b]: least on any line between two settings at `wanted`."""
    wanted = wanted - _ROUNDING * np.abs(wanted)
    best: Vector = np.where(reached >= wanted, cost, np.inf).min(axis=0)
    for high in range(len(reached)):
        step = reached[high] - reached
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (wanted - reached) / step
            between = cost + share * (cost[high] - cost)
        on_it = (reached < wanted) & (reached[high] >= wanted)
        best = np.minimum(best, np.where(on_it, between, np.inf).min(axis=0))
    return best
