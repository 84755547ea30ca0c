"""A registered chain against the audit rows: in order, up to the first plan that does not pass."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec
import numpy as np

from pipeline.certify.bounds import rows_needed, tail
from pipeline.certify.outcomes import Candidate, Outcomes, of_tiers

BOUND = "hypergeometric-1"  # the one test, named before the audit is opened


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One plan on the audit rows."""

    candidate: Candidate
    agreeing: int  # of the audit rows
    drawn: int  # audit rows
    p: float  # of the hypothesis that the population lies below the target
    cost: float  # USD a row, mean over the audit rows

    @property
    def share(self) -> float:
        """Selected on this sample, so not an estimate of the plan's agreement."""
        return self.agreeing / self.drawn if self.drawn else 0.0


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A chain after its test. The one claim is "at least the target", of the chosen plan."""

    tests: tuple[Verdict, ...]  # in the order of the chain, the first that failed is the last here
    chosen: int | None  # of the tests that passed, the cheapest; None: nothing passed
    population: int
    target: float
    delta: float
    bound: str = BOUND


def test_chain(
    chain: Sequence[Candidate],
    audit: Sequence[Outcomes],
    population: int,
    target: float,
    delta: float,
    pilot: Sequence[Outcomes] = (),  # noqa: PT028
) -> Tested:
    """Fixed-sequence testing: every plan at level delta, since a later one is only looked at when all before passed.

    audit: the same rows on each order of tiers that the chain names, drawn uniformly from the population's rows
    without the pilot. pilot: the rows the chain was made from; what they did is known, so it is counted and not
    tested (testing a chain on a population that holds the rows it was fitted to is slightly too generous).
    Raises ValueError where more rows were drawn than there are, KeyError on a plan whose tiers were not asked.
    """
    verdicts: list[Verdict] = []
    for verdict in _verdicts(chain, audit, pilot, population, target):
        verdicts.append(verdict)
        if verdict.p > delta:
            break
    passed = [number for number, verdict in enumerate(verdicts) if verdict.p <= delta]
    chosen = min(passed, key=lambda number: (verdicts[number].cost, number), default=None)
    return Tested(tests=tuple(verdicts), chosen=chosen, population=population, target=target, delta=delta)


def _verdicts(
    chain: Sequence[Candidate],
    audit: Sequence[Outcomes],
    pilot: Sequence[Outcomes],
    population: int,
    target: float,
) -> Iterator[Verdict]:
    """One at a time; plans that follow each other on the same tiers are run together."""
    for tiers, group in groupby(chain, key=lambda candidate: candidate.tiers):
        plans = list(group)
        drawn, agreeing, cost = _counted(of_tiers(audit, tiers), plans)
        known, sure, _ = _counted(of_tiers(pilot, tiers), plans) if pilot else (0, [0] * len(plans), [])
        rest = population - known
        if drawn > rest:
            raise ValueError(f"{known + drawn} rows were drawn of a population of {population}")
        needed = rows_needed(population, target)
        for number, plan in enumerate(plans):
            missing = min(needed - sure[number] - 1, rest)
            p = tail(agreeing[number], drawn, rest, missing)
            yield Verdict(candidate=plan, agreeing=agreeing[number], drawn=drawn, p=p, cost=cost[number])


def _counted(outcomes: Outcomes, plans: Sequence[Candidate]) -> tuple[int, list[int], list[float]]:
    """Rows, how many of them agree under each plan, and USD a row."""
    agrees, cost = outcomes.run_all(np.array([plan.accept for plan in plans]))
    rows = len(outcomes)
    return rows, agrees.sum(axis=1).tolist(), (cost.sum(axis=1) / max(rows, 1)).tolist()
