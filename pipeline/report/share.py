"""A share with its interval."""

from math import sqrt
from statistics import NormalDist

import msgspec


class Share(msgspec.Struct, frozen=True, kw_only=True):
    share: float
    low: float
    high: float
    rows: int  # it was seen on


def wilson(right: int, rows: int, confidence: float = 0.95) -> Share:
    """The score interval of a share (Wilson, JASA 22, 1927); without a row it is anything."""
    if not rows:
        return Share(share=0.0, low=0.0, high=1.0, rows=0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z * sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return Share(share=share, low=max(0.0, middle - reach), high=min(1.0, middle + reach), rows=rows)
