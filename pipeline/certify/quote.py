"""What can be certified for how many dollars, from the pilot rows alone: a price list before the money is spent."""

from collections.abc import Collection, Sequence
from math import ceil, floor, sqrt
from statistics import NormalDist

import msgspec
import numpy as np

from pipeline.certify.bounds import lower_bound
from pipeline.certify.chain import build_chain
from pipeline.certify.outcomes import Candidate, Outcomes, of_tiers
from pipeline.certify.strata import Stratum

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


class LabelOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One label under the wanted plan, as far as the pilot knows it."""

    label: str
    rows: int  # of the job, about
    seen: int  # pilot rows answered so
    agreement: float  # of these
    drawn: int | None  # rows to draw of it, so that four of five draws certify it; None: out of reach
    unknown: int  # of its rows, those whose reference answer only a draw could tell


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
    labels: tuple[LabelOffer, ...] = ()  # of the wanted plan, or the surest; none: not asked for


def quote(
    pilot: Sequence[Outcomes],
    *,
    target: float,
    population: int,
    audit: int,
    delta: float,
    comparing: float = 0.0,
) -> Quote:
    """pilot: the same n rows on each order of tiers, the whole ladder first; audit: rows drawn beside them; comparing:
    USD a drawn row to tell which answers agree.

    Raises ValueError without a row."""
    whole = pilot[0]
    if not len(whole):
        raise ValueError("a quote needs a row at least")
    audit = min(audit, population - len(whole))
    drawn = len(whole) + audit
    everywhere, top = float(whole.cost.sum(axis=1).mean()) + comparing, float(whole.cost[:, -1].mean())
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


def quote_labels(
    answered: Sequence[Collection[str]], agrees: Sequence[Collection[str]], known: Sequence[bool],
    *, population: int, drawn: int, target: float, delta: float,
) -> tuple[LabelOffer, ...]:  # fmt: skip
    """answered: [n] the labels that a plan gave each pilot row. agrees: [n] those of them that the reference gives.
    known: [n] whether the plan asked the reference. drawn: rows of pilot and audit, of which it is known as well."""
    labels = sorted({label for each in answered for label in each})
    offers = []
    for label in labels:
        at = [row for row, each in enumerate(answered) if label in each]
        right = [label in agrees[row] for row in at]
        rows = round(population * len(at) / len(answered))
        told = [yes for row, yes in zip(at, right, strict=True) if known[row]]
        untold = [yes for row, yes in zip(at, right, strict=True) if not known[row]]
        escalated = rows * len(told) / len(at)
        share = sum(untold) / (len(untold) + 1)  # drawn in by one row that disagrees
        seen = min(escalated + (rows - escalated) * min(1.0, drawn / population), rows)
        sure = min(escalated * (sum(told) / len(told) if told else 0.0) + (seen - escalated) * share, seen)
        stratum = Stratum(label=label, rows=rows, known=round(seen), sure=floor(sure))
        size = _drawn_for(stratum, share, target, delta / len(labels))
        offers.append(
            LabelOffer(
                label=label, rows=rows, seen=len(at), agreement=sum(right) / len(at), drawn=size,
                unknown=stratum.rest,
            )
        )  # fmt: skip
    return tuple(offers)


def _drawn_for(stratum: Stratum, share: float, target: float, delta: float) -> int | None:
    """Of some forty sizes the first at which four of five draws pass."""
    least = stratum.fewest(target, delta)
    if not least:
        return least
    for size in sorted({int(size) for size in np.geomspace(least, stratum.rest, 40).round()}):
        scatter = sqrt(share * (1 - share) * size * (1 - size / stratum.rest))
        reached = max(0, floor(share * size - NormalDist().inv_cdf(LIKELY) * scatter))
        if msgspec.structs.replace(stratum, drawn=size, agreeing=reached).p_value(target) <= delta:
            return size
    return None


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
