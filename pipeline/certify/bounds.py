"""Exact tests of a share of a finite population, from rows drawn without replacement."""

from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np

from pipeline.certify.outcomes import Bools, Floats

_PRIOR = 20.0  # rows that a gambler's first guess, half-way from the target to 1, is worth


def rows_needed(population: int, target: float) -> int:
    """How many rows of the population have to agree: the target is read as it is written, .95 as 95/100."""
    return ceil(Fraction(str(target)) * population)


def p_value(agreeing: int, drawn: int, population: int, target: float) -> float:
    """Of the null hypothesis that the population lies below the target: P(as many agree or more), hypergeometric."""
    return tail(agreeing, drawn, population, rows_needed(population, target) - 1)


def tail(agreeing: int, drawn: int, population: int, good: int) -> float:
    """P(X >= agreeing) among `drawn` rows of a population with `good` good ones; 0 where good < 0 can not be."""
    if good < 0:
        return 0.0
    low, high = _support(drawn, population, good)
    if agreeing <= low:
        return 1.0
    if agreeing > high:
        return 0.0
    return float(_tails(drawn, population, good)[high - agreeing])


def most_missing(drawn: int, population: int, target: float, delta: float) -> int:
    """How many of the drawn rows may disagree and the target still hold at confidence 1 - delta; -1: not even none."""
    good = rows_needed(population, target) - 1
    if good < 0:
        return drawn
    _, high = _support(drawn, population, good)
    return drawn - high - 1 + int(np.searchsorted(_tails(drawn, population, good), delta, side="right"))


def wealth(agrees: Bools, population: int, target: float) -> Floats:
    """[n] what a gambler who bets against "the population lies below the target" has after each row, from 1.

    agrees: [n] in the order of the draw. Of a population below the target, P(ever 1/delta or more) is at most delta,
    so one may look after each row and stop when one likes. A bet is a likelihood ratio of the next row: the share of
    agreeing rows seen so far against the share left under the hypothesis. Waudby-Smith & Ramdas, "Estimating means of
    bounded random variables by betting" (2024), section 5. For a sample of fixed size `p_value` has more power.
    """
    rows = np.arange(len(agrees))
    before = np.concatenate([[0], np.cumsum(agrees)[:-1]]) if len(agrees) else np.zeros(0)
    left = (rows_needed(population, target) - 1 - before) / (population - rows)
    guess = ((1 + target) / 2 * _PRIOR + before) / (_PRIOR + rows)
    bold = np.clip(np.maximum(guess, left), 0.0, 1.0)
    null = np.clip(left, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(agrees, bold / null, (1 - bold) / (1 - null))
    factor[left >= 1] = 1.0  # nothing to bet on: the hypothesis lets all the rest agree
    refuted = np.logical_or.accumulate(left < 0) | np.isinf(factor)
    grown: Floats = np.where(np.logical_or.accumulate(refuted), np.inf, np.cumprod(factor))
    return grown


def lower_bound(agreeing: int, drawn: int, population: int, delta: float) -> float:
    """The share that the population reaches at least, at confidence 1 - delta: every smaller one is rejected."""
    low, high = agreeing, population - (drawn - agreeing)
    while low < high:
        middle = (low + high) // 2
        if tail(agreeing, drawn, population, middle) > delta:
            high = middle
        else:
            low = middle + 1
    return low / population


def _support(drawn: int, population: int, good: int) -> tuple[int, int]:
    """Fewest and most agreeing rows that a draw can hold."""
    return max(0, drawn - (population - good)), min(drawn, good)


@lru_cache(maxsize=128)  # the plans of a chain ask for few of them, over and over
def _tails(drawn: int, population: int, good: int) -> Floats:
    """P(at least as many agree), from the most of the support down to the fewest; by the ratio of neighbours."""
    x = np.arange(*_support(drawn, population, good), dtype=np.float64)
    up = np.log(good - x) + np.log(drawn - x)
    down = np.log(x + 1) + np.log(population - good - drawn + x + 1)
    logs = np.concatenate([[0.0], np.cumsum(up - down)])
    tails: Floats = np.cumsum(np.exp(logs - logs.max())[::-1])
    tails /= tails[-1]
    return tails
