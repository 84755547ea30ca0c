"""Outcomes made up for tests: n queries whose models differ in a way that is known."""

import numpy as np

from pipeline.router.observed import Observed


def observed(
    correct: list[list[float]] | np.ndarray,  # type: ignore[type-arg]
    cost: list[float],
    score: list[list[float]] | None = None,
    answer: list[list[int]] | None = None,
    features: np.ndarray | None = None,  # type: ignore[type-arg]
    category: np.ndarray | None = None,  # type: ignore[type-arg]
) -> Observed:
    right = np.array(correct, dtype=float)
    return Observed(
        correct=right,
        cost=np.tile(np.array(cost, dtype=float), (len(right), 1)),
        score=np.full(right.shape, np.nan) if score is None else np.array(score, dtype=float),
        answer=np.full(right.shape, -1) if answer is None else np.array(answer),
        features=np.zeros((len(right), 2)) if features is None else features,
        category=np.full(len(right), -1) if category is None else category,
    )


def confident(count: int, seed: int = 0) -> Observed:
    """A cheap model that is right as often as it says, and one at fifty times the price that is right at .95."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.2, 1.0, count)
    right = np.column_stack([rng.uniform(size=count) < said, rng.uniform(size=count) < 0.95]).astype(float)
    return observed(right, [1e-4, 5e-3], np.column_stack([said, np.full(count, 0.9)]).tolist())
