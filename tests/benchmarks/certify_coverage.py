"""How often a job is certified, how often wrongly, and what it saves: jobs resampled from recorded outcomes.

A population of five times the audit is drawn once, with replacement, from each recorded set; what is true of it is
known. Each run draws pilot and audit from it without replacement, makes the chain, tests it and looks at the truth.
"""

import time
from dataclasses import dataclass
from math import exp, lgamma, log, log1p
from typing import Any

import numpy as np

from pipeline.certify import certify
from pipeline.certify.bounds import most_missing, rows_needed, tail
from pipeline.certify.chain import build_chain
from pipeline.certify.outcomes import Candidate, Outcomes, of_tiers
from schemas.ids import TierName
from tests.benchmarks.certify_rows import GOLD, LABELS, LLAMA, MIXED, OPENAI, Ladder, population, taken

PILOT, AUDIT, POPULATION = 200, 600, 3000
SEED = 20
SLACK, CERTIFIED = 0.03, 0.8  # where the best plan has so much to spare, so many runs have to certify
FAMILY = 0.05  # chance that any cell is called wrong though none is


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    dataset: str
    ladder: Ladder
    reference: str  # "gold" or a model of the ladder
    target: float
    delta: float = 0.05


def _cells() -> list[Cell]:
    tier = [
        ("cascades/mmlu", LLAMA, (0.85, 0.9, 0.95)),
        ("cascades/mmlu", MIXED, (0.9, 0.95)),
        ("cascades/medmcqa", LLAMA, (0.9, 0.95)),
        ("cascades/medmcqa", OPENAI, (0.85, 0.9, 0.95)),
        ("textclass/policy_en", LABELS, (0.85, 0.9, 0.95)),
        ("textclass/sust_finance_en", LABELS, (0.93, 0.96)),
        ("textclass/technology_en", LABELS, (0.95, 0.97)),
        ("textclass/env_claims_en", LABELS, (0.9, 0.95)),
    ]
    gold = [
        ("cascades/mmlu", MIXED, (0.79,)),
        ("cascades/medmcqa", LLAMA, (0.88, 0.9)),
        ("cascades/triviaqa", LLAMA, (0.92, 0.94)),
        ("cascades/triviaqa", OPENAI, (0.92,)),
        ("cascades/gsm8k", LLAMA, (0.92, 0.94)),
        ("cascades/gsm8k", OPENAI, (0.9, 0.92)),
        ("cascades/truthfulqa", LLAMA, (0.68,)),
        ("textclass/policy_en", LABELS, (0.62,)),
        ("textclass/sust_finance_en", LABELS, (0.93,)),
        ("textclass/technology_en", LABELS, (0.91,)),
        ("textclass/env_claims_en", LABELS, (0.86,)),
        # out of reach: only refusals count
        ("cascades/medmcqa", LLAMA, (0.95,)),
        ("cascades/truthfulqa", OPENAI, (0.8,)),
        ("textclass/policy_en", LABELS, (0.7,)),
        ("textclass/technology_en", LABELS, (0.96,)),
    ]
    cells = [
        Cell(dataset=dataset, ladder=ladder, reference=ladder.models[-1], target=target, delta=delta)
        for dataset, ladder, targets in tier
        for target in targets
        for delta in (0.05, 0.1)
    ]
    return cells + [
        Cell(dataset=dataset, ladder=ladder, reference=GOLD, target=target)
        for dataset, ladder, targets in gold
        for target in targets
    ]


CELLS = _cells()


def measure(runs: int, cells: list[Cell] | None = None) -> dict[str, Any]:
    chosen = CELLS if cells is None else cells
    print(
        f"\nCoverage: {len(chosen)} cells, {runs} runs each, pilot {PILOT}, audit {AUDIT} of {POPULATION} rows. "
        "Saved is against the dear tier on every row: by the plan, and with pilot and audit paid."
    )
    print(
        f"{'set':26}{'tiers':8}{'reference':10}{'target':>7}{'δ':>6}{'best':>7}{'oracle':>8}"
        f"{'certified':>11}{'missed':>8}{'saved':>8}{'all paid':>9}{'possible':>9}{'s':>5}"
    )
    found = []
    for cell in chosen:
        found.append(_measured(cell, runs, len(chosen)))
        _print(cell, found[-1])
    return {
        "runs": runs,
        "pilot": PILOT,
        "audit": AUDIT,
        "population": POPULATION,
        **_bars(found),
        "cells": found,
    }


def _measured(cell: Cell, runs: int, cells: int) -> dict[str, Any]:
    started = time.monotonic()
    rows = population(cell.dataset, cell.ladder, cell.reference, POPULATION, SEED)
    dear = of_tiers(rows, (TierName(cell.ladder.models[-1]),)).cost.mean()
    whole = of_tiers(rows, tuple(TierName(model) for model in cell.ladder.models)).cost.sum(axis=1).mean()
    best, cheapest = _oracle(rows, cell.target)
    random = np.random.default_rng(SEED)
    certified, missed, costs = 0, 0, []
    for _ in range(runs):
        plan = certified_plan(rows, random, cell.target, cell.delta)
        if plan is None:
            continue
        agrees, cost = of_tiers(rows, plan.tiers).run(plan.accept)
        certified += 1
        missed += int(agrees.sum()) < rows_needed(POPULATION, cell.target)
        costs.append(float(cost.mean() / dear))
    drawn = (PILOT + AUDIT) / POPULATION
    plan_cost = float(np.mean(costs)) if costs else 1.0
    return {
        "set": cell.dataset,
        "tiers": list(cell.ladder.models),
        "reference": cell.reference,
        "target": cell.target,
        "delta": cell.delta,
        "best_plan": round(best, 4),
        "oracle_certified": round(_power(best, cell.target, cell.delta), 4),
        "certified": certified / runs,
        "missed": missed / runs,
        "missed_by_chance": at_least(missed, runs, cell.delta),
        "within": at_least(missed, runs, cell.delta) > FAMILY / cells,
        "saved": round(1 - plan_cost, 4),
        "saved_audit_paid": round(1 - drawn * float(whole / dear) - (1 - drawn) * plan_cost, 4),
        "saved_possible": None if cheapest is None else round(1 - cheapest / float(dear), 4),
        "seconds": round(time.monotonic() - started, 1),
    }


def certified_plan(
    rows: list[Outcomes], random: np.random.Generator, target: float, delta: float
) -> Candidate | None:
    """One job: draw, make the chain, test it."""
    drawn = random.permutation(len(rows[0]))[: PILOT + AUDIT]
    pilot = [taken(each, drawn[:PILOT]) for each in rows]
    audit = [taken(each, drawn[PILOT:]) for each in rows]
    tested = certify.test_chain(build_chain(pilot, target), audit, len(rows[0]), target, delta, pilot)
    return None if tested.chosen is None else tested.tests[tested.chosen].candidate


def _oracle(rows: list[Outcomes], target: float) -> tuple[float, float | None]:
    """Of the plans that knowing all rows would suggest: the highest agreement, and the lowest cost at the target."""
    tried = []
    for plan in build_chain(rows, 0.0):
        agrees, cost = of_tiers(rows, plan.tiers).run(plan.accept)
        tried.append((float(agrees.mean()), float(cost.mean())))
    reaching = [cost for agreeing, cost in tried if agreeing >= target]
    return max(agreeing for agreeing, _ in tried), min(reaching, default=None)


def _power(best: float, target: float, delta: float) -> float:
    """How often the best plan itself would pass the test."""
    line = AUDIT - most_missing(AUDIT, POPULATION, target, delta)
    return tail(line, AUDIT, POPULATION, round(best * POPULATION))


def at_least(count: int, runs: int, chance: float) -> float:
    """P(so many or more) of so many runs, binomial."""
    if count == 0:
        return 1.0
    logs = [
        lgamma(runs + 1)
        - lgamma(k + 1)
        - lgamma(runs - k + 1)
        + k * log(chance)
        + (runs - k) * log1p(-chance)
        for k in range(count, runs + 1)
    ]
    return min(1.0, sum(exp(each) for each in logs))


def _bars(found: list[dict[str, Any]]) -> dict[str, Any]:
    roomy = [each for each in found if each["best_plan"] - each["target"] >= SLACK]
    short = [each for each in roomy if each["certified"] < CERTIFIED]
    bars = {
        "missed_within_delta": all(each["within"] for each in found),
        "highest_missed": max(each["missed"] for each in found),
        "roomy_cells": len(roomy),
        "roomy_certified": len(roomy) - len(short),
        "roomy_short": {_named(each): [each["certified"], each["oracle_certified"]] for each in short},
    }
    print(
        f"missed within δ in every cell (binomial, Bonferroni): {bars['missed_within_delta']}; certified in "
        f"{CERTIFIED:.0%} of runs in {bars['roomy_certified']} of the {len(roomy)} cells with {SLACK:.0%} to spare"
    )
    for each in short:
        knowing = f"{each['oracle_certified']:.0%} had the best plan been known"
        print(f"  {_named(each)}: {each['certified']:.0%}; {knowing}")
    return bars


def _named(each: dict[str, Any]) -> str:
    return f"{each['set']} {each['reference']} {each['target']}"


def _print(cell: Cell, one: dict[str, Any]) -> None:
    possible = one["saved_possible"]
    print(
        f"{cell.dataset:26}{cell.ladder.name:8}{'gold' if cell.reference == GOLD else 'dear':10}{cell.target:>7}"
        f"{cell.delta:>6}{one['best_plan']:>7.3f}{one['oracle_certified']:>8.2f}{one['certified']:>11.3f}"
        f"{one['missed']:>8.3f}{one['saved']:>8.1%}{one['saved_audit_paid']:>9.1%}"
        f"{'none' if possible is None else format(possible, '.1%'):>9}{one['seconds']:>5.0f}",
        flush=True,
    )
