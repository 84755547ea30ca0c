"""Thompson sampling: one θ is drawn for each batch and taken as true (Agrawal and Goyal, arXiv 1209.3352)."""

from typing import ClassVar

import numpy as np

from pipeline.router.scoring import Model, Scoring, X
from pipeline.router.statistics import Matrix32


class Thompson(Scoring):
    certain: ClassVar[bool] = False

    def score(self, model: Model[X], x: X, random: np.random.Generator) -> Matrix32:
        return model.drawn(random).mean(x)
