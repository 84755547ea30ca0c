"""LinUCB: a tier is taken at the best it may well be (Li et al., arXiv 1003.0146, algorithm 1)."""

import numpy as np

from pipeline.router.scoring import Model, Scoring, X
from pipeline.router.statistics import Matrix32


class LinUCB(Scoring):
    def __init__(self, alpha: float = 0.5) -> None:
        """alpha: standard deviations above the mean."""
        self.alpha = np.float32(alpha)

    def score(self, model: Model[X], x: X, random: np.random.Generator) -> Matrix32:
        return model.mean(x) + self.alpha * model.deviation(x)
