"""ε-greedy: the plan that looks best, and now and then any plan."""

import numpy as np

from pipeline.router.scoring import Model, Scoring, X
from pipeline.router.statistics import Matrix32


class EpsilonGreedy(Scoring):
    def score(self, model: Model[X], x: X, random: np.random.Generator) -> Matrix32:
        return model.mean(x)
