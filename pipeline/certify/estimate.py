"""Accuracy of a whole job from a few graded rows and what was predicted of all the others."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist

import msgspec
import numpy as np

from pipeline.certify.outcomes import Bools, Floats

FEWEST = 10  # graded rows under which nothing is estimated
_PLUS = np.array([1.0, 1.0, 0.0, 0.0])  # Agresti & Coull's four rows, so that no sample is without variance


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A share of rows that agree, with its interval. No certificate: the interval is approximate and two-sided."""

    share: float
    low: float
    high: float
    graded: int  # rows
    population: int  # rows
    trust: float  # in the predictions, 0..1: their weight that leaves the least variance


def estimate(
    predicted_mean: float, population: int, predicted: Floats, agrees: Bools, delta: float = 0.05
) -> Estimate | None:
    """Prediction-powered share of a finite population, at confidence 1 - delta; None under ten graded rows.

    predicted_mean: mean P(agrees) said of all rows of the population. predicted, agrees: [n] of the graded ones, drawn
    uniformly without replacement. The graded ones are known, the others are estimated: Angelopoulos, Duchi, Zrnic,
    "PPI++" (2023), equation 4. The graded rows must not have trained the predictions.
    """
    n = len(agrees)
    if n < FEWEST:
        return None
    known, unseen = int(agrees.sum()), population - n
    if unseen <= 0:
        share = known / n
        return Estimate(share=share, low=share, high=share, graded=n, population=n, trust=0.0)
    trust = _trust(predicted, agrees)
    said = (predicted_mean * population - float(predicted.sum())) / unseen
    missed = np.concatenate([agrees - trust * predicted, _PLUS - trust * said])
    guessed = trust * said + float(missed.mean())
    spread = sqrt(float(missed.var(ddof=1)) * (1 / len(missed) + 1 / unseen))
    reach = NormalDist().inv_cdf(1 - delta / 2) * spread

    def whole(share: float) -> float:
        return (known + unseen * min(max(share, 0.0), 1.0)) / population

    return Estimate(
        share=whole(guessed),
        low=whole(guessed - reach),
        high=whole(guessed + reach),
        graded=n,
        population=population,
        trust=trust,
    )


def estimate_each(
    predicted_mean: Mapping[str, float],
    population: Mapping[str, int],
    category: Sequence[str],
    predicted: Floats,
    agrees: Bools,
    delta: float = 0.05,
) -> dict[str, Estimate]:
    """The same for each category with ten graded rows or more; category: [n] of the graded rows."""
    names = np.array(category, dtype=object)
    found = {
        name: estimate(predicted_mean[name], rows, predicted[names == name], agrees[names == name], delta)
        for name, rows in population.items()
    }
    return {name: one for name, one in found.items() if one is not None}


def _trust(predicted: Floats, agrees: Bools) -> float:
    """The regression of what was seen on what was said, within 0..1."""
    spread = float(predicted.var())
    if spread == 0.0:
        return 0.0
    together = float(((predicted - predicted.mean()) * (agrees - agrees.mean())).mean())
    return min(max(together / spread, 0.0), 1.0)
