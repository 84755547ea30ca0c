"""The chain of plans to test, made from the pilot rows alone: the surest first, cheaper at each step.

Plans are thresholds on what the combiner said, so their merit is counted on the pilot, not modelled. A dense chain
costs next to nothing: neighbours differ in few rows, and the audit rows that test one test them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np

from pipeline.certify.outcomes import Candidate, Floats, Outcomes

NEVER = 2.0  # a P(correct) that no answer has
LONGEST = 100  # plans of a chain
_GRID = 256  # plans tried on each order of tiers, about
_FAR = 2.0  # standard errors below the target at which a plan is given up


@dataclass(frozen=True, slots=True)
class _Tried:
    """A plan on the pilot."""

    candidate: Candidate
    agreeing: int  # rows
    cost: float  # USD a row


def build_chain(pilot: Sequence[Outcomes], target: float, *, longest: int = LONGEST) -> list[Candidate]:
    """At most `longest` plans, of those over the same tiers no two that do the same on the pilot; deterministic.

    pilot: the same rows on every order of tiers that a plan may have. target: a plan that fails it clearly on the
    pilot gets no place, except as the surest, which tells what comes nearest. Raises ValueError without pilot rows.
    """
    if not pilot or not len(pilot[0]):
        raise ValueError("a chain is made from pilot rows, and there are none")
    frontier = _frontier([plan for outcomes in pilot for plan in _tried(outcomes)])
    rows = len(pilot[0])
    least = target * rows - _FAR * sqrt(target * (1 - target) * rows)
    hopeful = [plan for plan in frontier[1:] if plan.agreeing >= least]
    return [plan.candidate for plan in _thinned([frontier[0], *hopeful], longest)]


def nested_chain(drawn: Outcomes) -> list[Candidate]:
    """Every threshold at the last tier but one, which needs no pilot; tiers before it are only asked for their vote.

    Only where the last tier is the reference. A lower threshold then leaves every disagreement that a higher one left,
    in the population as in a draw, so the plans below the target are the end of the chain, and to pass any of them
    the first has to pass: the thresholds may be those of the audit rows themselves. Raises ValueError on one tier.
    """
    if len(drawn.tiers) < 2:
        raise ValueError("one tier has no threshold")
    said = drawn.confidence[:, -2]
    before = (NEVER,) * (len(drawn.tiers) - 2)
    levels = [NEVER, *np.unique(said[said > -np.inf])[::-1].tolist()]
    return [Candidate(drawn.tiers, (*before, level, 0.0)) for level in levels]


def _tried(outcomes: Outcomes) -> list[_Tried]:
    """The grid of thresholds, each plan once of those that do the same."""
    plans = list(product(*_levels(outcomes), (0.0,)))
    agrees, cost = outcomes.run_all(np.array(plans))
    agreeing, usd = agrees.sum(axis=1).tolist(), cost.mean(axis=1).tolist()
    found: dict[tuple[bytes, float], _Tried] = {}
    for number, accept in enumerate(plans):
        did = agrees[number].tobytes(), usd[number]
        found.setdefault(did, _Tried(Candidate(outcomes.tiers, accept), agreeing[number], usd[number]))
    return list(found.values())


def _levels(outcomes: Outcomes) -> list[list[float]]:
    """For each tier but the last, never and some confidences seen there, evenly spaced by rank, the highest first."""
    heads = len(outcomes.tiers) - 1
    most = max(2, int(_GRID ** (1 / heads)) - 1) if heads else 0
    return [[NEVER, *_spaced(outcomes.confidence[:, at], most)] for at in range(heads)]


def _spaced(said: Floats, most: int) -> list[float]:
    seen = np.unique(said[said > -np.inf])[::-1]
    if len(seen) > most:
        seen = seen[_evenly(len(seen), most)]
    return [float(level) for level in seen]


def _frontier(tried: Sequence[_Tried]) -> list[_Tried]:
    """Plans that no cheaper one beats, the dearest first. Of plans that agree on as many rows the dearer ones stay: on
    few rows a tie says little."""
    kept: list[_Tried] = []
    for plan in sorted(tried, key=lambda plan: (plan.cost, -plan.agreeing, len(plan.candidate.tiers))):
        if not kept or plan.agreeing >= kept[-1].agreeing:
            kept.append(plan)
    return kept[::-1]


def _thinned(plans: list[_Tried], longest: int) -> list[_Tried]:
    """Evenly spaced, the first and the last among them."""
    return [plans[at] for at in _evenly(len(plans), min(longest, len(plans)))]


def _evenly(count: int, kept: int) -> list[int]:
    return [int(at) for at in np.linspace(0, count - 1, kept).round()]
