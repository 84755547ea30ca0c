"""How often any label is certified that misses, and how many can be: by a second audit, against the first one's rows.

Populations as in the coverage bench. Each run draws pilot and audit, freezes the plan that the chain's test chooses,
answers every row with it, then certifies each label. second: rows drawn of each label when all is answered. first: the
audit's own rows of that label, at delta over the chain's length, since the plan was chosen on them. naive: at delta.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.certify import certify
from pipeline.certify.bounds import rows_needed
from pipeline.certify.chain import build_chain
from pipeline.certify.outcomes import of_tiers
from pipeline.certify.strata import Stratum, test_strata
from schemas.ids import TierName
from tests.benchmarks.certify_coverage import AUDIT, FAMILY, PILOT, POPULATION, SEED, at_least
from tests.benchmarks.certify_rows import LABELS, population, recorded, taken

DELTA = 0.05
DRAWN = 100  # of each label
ROOM = 0.03  # above its target, from which a label ought to be certified
WAYS = ("second", "first", "naive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    dataset: str
    target: float  # of the whole job
    each: float  # of a label


CELLS = [
    Cell(dataset=f"textclass/{name}", target=target, each=each)
    for name, target in (
        ("policy_en", 0.85),
        ("sust_finance_en", 0.93),
        ("technology_en", 0.95),
        ("env_claims_en", 0.9),
    )
    for each in (0.8, 0.85, 0.9, 0.95)
]


def measure(runs: int) -> dict[str, Any]:
    print(
        f"\nLabels: {len(CELLS)} cells, {runs} runs each, pilot {PILOT}, audit {AUDIT} of {POPULATION} rows, "
        f"{DRAWN} more of each label; δ {DELTA}. missed: any label certified below its target. roomy: share of labels "
        f"certified among those {ROOM:.0%} above it. calls: of the reference for the second audit, of all rows"
    )
    head = "".join(f"{way + ' missed':>15}{'roomy':>7}" for way in WAYS)
    print(f"{'set':28}{'target':>7}{'each':>6}{'labels':>8}{head}{'calls':>8}{'s':>5}")
    found = [_measured(cell, runs) for cell in CELLS]
    worst = max(each["missed"]["second"] for each in found)
    within = all(each["within"] for each in found)
    print(f"second: missed in at most {worst:.3f} of the runs; within δ (binomial, Bonferroni): {within}")
    return {
        "runs": runs,
        "drawn": DRAWN,
        "delta": DELTA,
        "highest_missed": worst,
        "within": within,
        "cells": found,
    }


def _measured(cell: Cell, runs: int) -> dict[str, Any]:
    started = time.monotonic()
    dear = LABELS.models[-1]
    rows = population(cell.dataset, LABELS, dear, POPULATION, SEED)
    observed = recorded(cell.dataset, LABELS.models)
    codes = observed.answer[np.random.default_rng(SEED).integers(0, len(observed), POPULATION)]
    random = np.random.default_rng(SEED)
    missed, roomy, got = dict.fromkeys(WAYS, 0), 0, dict.fromkeys(WAYS, 0)
    labels = calls = jobs = 0
    for _ in range(runs):
        drawn = random.permutation(POPULATION)
        pilot, audit = drawn[:PILOT], drawn[PILOT : PILOT + AUDIT]
        taken_pilot = [taken(each, pilot) for each in rows]
        chain = build_chain(taken_pilot, cell.target)
        tested = certify.test_chain(
            chain, [taken(each, audit) for each in rows], POPULATION, cell.target, DELTA, taken_pilot
        )
        if tested.chosen is None:
            continue
        jobs += 1
        plan = tested.tests[tested.chosen].candidate
        stops = of_tiers(rows, plan.tiers).stops(plan.accept)
        agrees = of_tiers(rows, plan.tiers).run(plan.accept)[0]
        columns = np.array([LABELS.models.index(tier) for tier in plan.tiers])
        ended = stops < len(columns)
        answer = np.where(
            ended, codes[np.arange(POPULATION), columns[np.minimum(stops, len(columns) - 1)]], -1
        )
        asked = np.array([tier == TierName(dear) for tier in plan.tiers])[np.minimum(stops, len(columns) - 1)]
        known = asked.copy()
        known[drawn[: PILOT + AUDIT]] = True
        names = [int(code) for code in np.unique(answer[answer >= 0])]
        true = [int(agrees[answer == code].sum()) for code in names]
        sizes = [int((answer == code).sum()) for code in names]
        holds = [good >= rows_needed(size, cell.each) for good, size in zip(true, sizes, strict=True)]
        wide = [good >= (cell.each + ROOM) * size for good, size in zip(true, sizes, strict=True)]
        second = [_second(code, answer, agrees, known, drawn, cell.each) for code in names]
        of_audit = np.zeros(POPULATION, dtype=bool)
        of_audit[audit] = True
        first = [_counted(code, answer, agrees, np.zeros(POPULATION, dtype=bool), of_audit) for code in names]
        said = {
            "second": _certified(second, cell.each, DELTA),
            "first": _certified(first, cell.each, DELTA / len(chain)),
            "naive": _certified(first, cell.each, DELTA),
        }
        for way, passed in said.items():
            missed[way] += any(yes and not true for yes, true in zip(passed, holds, strict=True))
            got[way] += sum(yes and room for yes, room in zip(passed, wide, strict=True))
        labels, roomy = labels + len(names), roomy + sum(wide)
        calls += sum(stratum.drawn for stratum in second)
    one = {
        "set": cell.dataset,
        "target": cell.target,
        "each": cell.each,
        "certified_jobs": jobs / runs,
        "labels": labels / max(jobs, 1),
        "missed": {way: missed[way] / runs for way in WAYS},
        "roomy": {way: got[way] / roomy if roomy else None for way in WAYS},
        "calls": calls / max(jobs, 1) / POPULATION,
        "within": at_least(missed["second"], runs, DELTA) > FAMILY / len(CELLS),
        "seconds": round(time.monotonic() - started, 1),
    }
    _print(one)
    return one


def _second(
    code: int, answer: np.ndarray, agrees: np.ndarray, known: np.ndarray, order: np.ndarray, target: float
) -> Stratum:
    """As the job draws: nothing where the known rows decide, or no draw of this size could."""
    nothing = np.zeros(len(answer), dtype=bool)
    stratum = _counted(code, answer, agrees, known, nothing)
    least = stratum.fewest(target, DELTA)
    if not least or least > min(DRAWN, stratum.rest):
        return stratum
    rest = order[(answer[order] == code) & ~known[order]]
    nothing[rest[:DRAWN]] = True
    return _counted(code, answer, agrees, known, nothing)


def _counted(
    code: int, answer: np.ndarray, agrees: np.ndarray, known: np.ndarray, drawn: np.ndarray
) -> Stratum:
    rows = answer == code
    return Stratum(
        label=str(code),
        rows=int(rows.sum()),
        known=int((rows & known).sum()),
        sure=int((rows & known & agrees).sum()),
        drawn=int((rows & drawn).sum()),
        agreeing=int((rows & drawn & agrees).sum()),
    )


def _certified(strata: Sequence[Stratum], target: float, delta: float) -> list[bool]:
    return [claim.certified for claim in test_strata(strata, target, delta)]


def _print(one: dict[str, Any]) -> None:
    roomy = {way: "none" if share is None else f"{share:.0%}" for way, share in one["roomy"].items()}
    ways = "".join(f"{one['missed'][way]:>15.3f}{roomy[way]:>7}" for way in WAYS)
    print(
        f"{one['set']:28}{one['target']:>7}{one['each']:>6}{one['labels']:>8.1f}{ways}{one['calls']:>8.1%}"
        f"{one['seconds']:>5.0f}",
        flush=True,
    )
