"""MetaLLM's single-call bandit, as published (arXiv 2407.10834): LinUCB picks one model a query."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.choosing import Fitted, cross_fitted
from pipeline.router.observed import Matrix, Observed, Tried, Vector, asked_once

WEIGHTS = (0.0, *np.geomspace(0.02, 5.0, 9).tolist())  # p, the weight of cost in the reward
ALPHA = 0.1


@dataclass(frozen=True, slots=True)
class MetaLLM:
    """r = correct - p·cost/max_cost; A <- γA + x xᵀ; b <- γb + r x; argmax θᵀx + α·sqrt(xᵀA⁻¹x).

    Begins with what the fitting rows taught (every model seen on each) and goes on learning from its own choices
    alone, in the order of the rows.
    """

    inverse: Matrix  # [m, d, d] of A
    target: Matrix  # [m, d], b
    weight: float
    dearest: float  # USD a call
    alpha: float = ALPHA
    gamma: float = 1.0

    @property
    def models(self) -> tuple[int, ...]:
        return tuple(range(len(self.target)))

    def run(self, rows: Observed) -> Tried:
        inverse = self.inverse.copy()
        theta = np.einsum("mij,mj->mi", inverse, self.target)
        pick = np.zeros(len(rows), dtype=np.intp)
        for row, x in enumerate(rows.inputs):
            seen = inverse @ x
            pick[row] = arm = int(np.argmax(theta @ x + self.alpha * np.sqrt(seen @ x)))
            reward = rows.correct[row, arm] - self.weight * rows.cost[row, arm] / self.dearest
            learn(inverse[arm], theta[arm], x, seen[arm] / self.gamma, reward, self.gamma)
        return asked_once(rows, pick)


def fit_metallm(rows: Observed) -> Fitted:
    """One rule per weight of cost; what each got is cross-fitted."""
    return cross_fitted(_rules, rows)


def _rules(rows: Observed) -> list[MetaLLM]:
    x = rows.inputs
    dearest = float(rows.cost.max())
    inverse = np.linalg.inv(x.T @ x + np.eye(x.shape[1]))
    every = np.repeat(inverse[None], rows.models, axis=0)
    rewards = [rows.correct - weight * rows.cost / dearest for weight in WEIGHTS]
    return [
        MetaLLM(every, reward.T @ x, weight, dearest) for weight, reward in zip(WEIGHTS, rewards, strict=True)
    ]


def learn(inverse: Matrix, theta: Vector, x: Vector, seen: Vector, reward: float, gamma: float) -> None:
    """A⁻¹ and θ = A⁻¹b after one reward, in place: Sherman and Morrison's rank-one update, A discounted first.

    seen: A⁻¹x / γ.
    """
    gained = seen / (1 + x @ seen)  # the new A⁻¹ times x
    theta += gained * (reward - theta @ x)
    inverse /= gamma
    inverse -= np.multiply.outer(gained, seen)
