"""What can be certified for how many dollars, from the pilot rows alone: a price list before the money is spent."""

from collections.abc import Sequence
from math import ceil, floor, sqrt
from statistics import NormalDist

import msgspec

from pipeline.certify.bounds import lower_bound
from pipeline.certify.chain import build_chain
from pipeline.certify.outcomes import Candidate, Outcomes, of_tiers

LIKELY = 0.8  # chance that the audit comes out as said
TAIL = 0.05  # of the interval, on each side


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One plan: what it would agree on with the reference, and what it would cost."""

    candidate: Candidate
    agreement: float  # of the pilot rows
    low: float  # of all rows: below it in one case of twenty
    high: float  # above it in one case of twenty
    certifiable: float  # the largest target that the audit passes in four of five draws
    cost: float  # USD of the whole job under it, pilot and audit included


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Offers, the surest first, each cheaper than the one before."""

    offers: tuple[Offer, ...]
    target: float
    population: int
    drawn: int  # rows of pilot and audit
    audit_cost: float  # USD beyond what those rows cost under the wanted plan, or the surest
    top_cost: float  # USD of the last tier for every row, nothing audited
    breaks_even: (
        int | None
    )  # rows from which the wanted plan with its audit is cheaper than that; None: never
    wanted: Offer | None  # the cheapest that reaches the target; None: out of reach
    best: float  # the largest certifiable target


def quote(pilot: Sequence[Outcomes], *, target: float, population: int, audit: int, delta: float) -> Quote:
    """pilot: the same n rows on each order of tiers, the whole ladder first; audit: rows drawn beside them.

    Raises ValueError without a row."""
    whole = pilot[0]
    if not len(whole):
        raise ValueError("a quote needs a row at least")
    audit = min(audit, population - len(whole))
    drawn = len(whole) + audit
    everywhere, top = float(whole.cost.sum(axis=1).mean()), float(whole.cost[:, -1].mean())
    offers, costs = [], {}
    for candidate in build_chain(pilot, target):
        agrees, spent = of_tiers(pilot, candidate.tiers).run(candidate.accept)
        costs[candidate] = float(spent.mean())
        total = drawn * everywhere + (population - drawn) * costs[candidate]
        offers.append(_offer(candidate, int(agrees.sum()), len(agrees), total, population, audit, delta))
    wanted = min(
        (each for each in offers if each.certifiable >= target), key=lambda each: each.cost, default=None
    )
    shown = costs[wanted.candidate if wanted else offers[0].candidate]
    return Quote(
        offers=tuple(offers),
        target=target,
        population=population,
        drawn=drawn,
        audit_cost=drawn * (everywhere - shown),
        top_cost=population * top,
        breaks_even=ceil(drawn * (everywhere - shown) / (top - shown)) if wanted and shown < top else None,
        wanted=wanted,
        best=max(each.certifiable for each in offers),
    )


def _offer(
    candidate: Candidate, agreeing: int, rows: int, cost: float, population: int, audit: int, delta: float
) -> Offer:
    return Offer(
        candidate=candidate,
        agreement=agreeing / rows,
        low=lower_bound(agreeing, rows, population, TAIL),
        high=1 - lower_bound(rows - agreeing, rows, population, TAIL),
        certifiable=_certifiable(agreeing, rows, population, audit, delta),
        cost=cost,
    )


def _certifiable(agreeing: int, rows: int, population: int, audit: int, delta: float) -> float:
    """From the pilot's share, drawn in by one row that disagrees unless all are known: the audit's count that four of
    five draws reach, and what it proves."""
    if rows == population:
        return agreeing / population
    share = agreeing / (rows + 1) if agreeing < rows else agreeing / rows
    scatter = sqrt(share * (1 - share) * audit * (1 - audit / population))
    reached = max(0, floor(share * audit - NormalDist().inv_cdf(LIKELY) * scatter))
    return lower_bound(reached, audit, population, delta)
