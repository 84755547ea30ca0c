"""How many rows to audit: every one costs a call of the reference, every one less leaves the bound wider."""

from math import sqrt
from statistics import NormalDist

import numpy as np

from pipeline.certify.bounds import most_missing, rows_needed

KEPT = 0.7  # share of rows that a plan does not escalate: only their audit costs a call of the reference
EDGE = 0.3  # share of disagreements among the rows that a stricter threshold would escalate
_SIZES = 40  # tried


def audit_size(population: int, target: float, delta: float, kept: float = KEPT, edge: float = EDGE) -> int:
    """Rows that make calls of the reference, audit included, fewest on two tiers, where nothing else is known.

    The bound leaves some of the disagreements that the target allows unused; each costs 1/edge more escalated rows.
    The defaults are round figures between what recorded sets show; the optimum is flat. Never more than the population.
    """
    if target >= 1.0:
        return population
    allowed = population - rows_needed(population, target)
    deviation = NormalDist().inv_cdf(1 - delta) * sqrt(target * (1 - target))
    centre = max((deviation * population / (2 * edge * kept)) ** (2 / 3), 1 / (1 - target))
    sizes = np.unique(np.geomspace(centre / 2, centre * 5, _SIZES).astype(int))

    def calls(drawn: int) -> float:
        missing = most_missing(drawn, population, target, delta)
        if missing < 0:
            return float(population)
        return kept * drawn + (allowed - missing * population / drawn) / edge

    return min((int(size) for size in sizes if 0 < size <= population), key=calls, default=population)
