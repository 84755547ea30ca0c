"""Whether a version is as good as the one that stands: both walk the queries that neither was fitted on.

First choice is the audit, where every tier was asked. Second the doubly robust estimate from logged propensities
(Dudík et al., arXiv 1103.4601, equation 1). Else the direct one: answers that were given where the log has them, what
the candidate expects where it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from pipeline.learning.held import Held
from pipeline.learning.learner import Learner
from pipeline.ports.policy import Policy
from pipeline.router.outlook import Outlook, outlook_of
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import Floats
from schemas.ids import TierName
from schemas.records import Pin, Plan

FEWEST = 50  # queries that judge
LEAST_SEEN = 0.5  # share of a candidate's calls that the log must have for a direct verdict
LEAST_EFFECTIVE = 100  # sample size below which a doubly robust estimate is refused
MARGIN = 0.02  # of accuracy, that a version may be worse by at most
CONFIDENCE = 1.28  # standard errors: the lower limit holds nine times in ten
SEEDS = 3  # draws over which a version that draws is judged

How = Literal["audit", "doubly robust", "direct", "none"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate beside the version that stands, on the same queries."""

    as_good: bool
    how: How
    reason: str
    queries: int = 0
    effective: float = 0.0  # sample size of the doubly robust estimate
    seen: float = 0.0  # share of the candidate's calls whose answers the log has
    accuracy: float = 0.0
    accuracy_before: float = 0.0
    usd: float = 0.0  # a query, expected at today's prices
    usd_before: float = 0.0
    lower: float = 0.0  # limit of the difference in accuracy
    brier: float | None = None  # of the candidate's P(correct), of answers it was not fitted on
    reliability: tuple[tuple[float, float, int], ...] = ()  # predicted, true, answers: by tenth


@dataclass(frozen=True, slots=True)
class _Walked:
    """What n queries came to under a version, on average over its draws."""

    correct: Floats
    usd: Floats
    seen: Floats
    weight: Floats  # 1/propensity where the logged plan is the version's own, else 0


def judge(learner: Learner, held: Held, candidate: Snapshot, before: Snapshot | None) -> Verdict:
    """`before` None: the policy as it is before anything was promoted."""
    outlook = outlook_of(candidate.statistics, learner.ladder)
    if held.labelled < FEWEST:
        fix = "give more with `tierwise feedback`, or a gold column"
        why = f"{held.labelled} labelled queries are held out; {FEWEST} are needed: {fix}"
        return Verdict(as_good=False, how="none", reason=why)
    audited = held.take(held.audited)
    if audited.labelled >= FEWEST:
        return _verdict(learner, audited, outlook, candidate, before, "audit")
    logged = held.take(held.propensity > 0)
    if logged.labelled >= FEWEST:
        robust = _verdict(learner, logged, outlook, candidate, before, "doubly robust")
        if robust.effective >= LEAST_EFFECTIVE:
            return robust
    return _verdict(learner, held, outlook, candidate, before, "direct")


def _verdict(
    learner: Learner, held: Held, outlook: Outlook, candidate: Snapshot, before: Snapshot | None, how: How
) -> Verdict:
    new, old = (_build(learner, held, version) for version in (candidate, before))
    price = new.price_of_money(float("inf"))
    asked, asked_before = (_walk_all(held, outlook, policy, how) for policy in (new, old))
    gain = asked.correct - asked_before.correct
    error = float(gain.std()) / len(gain) ** 0.5
    lower = float(gain.mean()) - CONFIDENCE * error
    worth = float(gain.mean()) - price * float((asked.usd - asked_before.usd).mean())
    brier, reliability = _calibration(held, outlook)
    weight = asked.weight.sum()
    seen = float(asked.seen.mean())
    reason = _objection(lower, worth, 1.0 if how == "doubly robust" else seen)
    return Verdict(
        as_good=not reason,
        how=how,
        reason=reason or "not worse",
        queries=held.labelled,
        effective=float(weight**2 / max((asked.weight**2).sum(), 1e-12)),
        seen=seen,
        accuracy=float(asked.correct.mean()),
        accuracy_before=float(asked_before.correct.mean()),
        usd=float(asked.usd.mean()),
        usd_before=float(asked_before.usd.mean()),
        lower=lower,
        brier=brier,
        reliability=reliability,
    )


def _objection(lower: float, worth: float, seen: float) -> str:
    if seen < LEAST_SEEN:
        return f"of the calls it would make, the log has {seen:.0%}; {LEAST_SEEN:.0%} are needed"
    if lower < -MARGIN:
        return f"its accuracy may be lower by {-lower:.3f}, more than {MARGIN}"
    return "" if worth >= 0 else "what it saves is not worth the answers it gets wrong"


def _build(learner: Learner, held: Held, version: Snapshot | None) -> Policy:
    return learner.build(version, epsilon=0.0, features=held)


def _walk_all(held: Held, outlook: Outlook, policy: Policy, how: How) -> _Walked:
    price = policy.price_of_money(float("inf"))
    runs = []
    for seed in range(SEEDS):
        pin = Pin(policy_version=policy.version, price_of_money=price, seed=seed)
        plans = policy.plan(held.queries, held.assigned, pin)
        runs.append(_walked(held, outlook, plans, how))
    return _Walked(*(np.mean([getattr(run, name) for run in runs], axis=0) for name in _Walked.__slots__))


def _walked(held: Held, outlook: Outlook, plans: Sequence[Plan], how: How) -> _Walked:
    likely, usd = outlook.learned.mean(held.features), outlook.cost(held.features)
    made = np.zeros((len(plans), 3))
    weight = np.zeros(len(plans))
    for row, plan in enumerate(plans):
        query = _Query(held, row, outlook, likely[row], usd[row])
        made[row], _ = query.walk(plan, known=how != "doubly robust")
        if query.went(plan) and held.propensity[row] > 0:
            weight[row] = 1 / held.propensity[row]
    if how == "doubly robust":
        made[:, 0] += weight * (held.stood - made[:, 0])
    return _Walked(made[:, 0], made[:, 1], made[:, 2], weight)


@dataclass(frozen=True, slots=True)
class _Query:
    """One query of the log, and what a version expects of it."""

    held: Held
    row: int
    outlook: Outlook
    likely: Floats  # [m]
    usd: Floats  # [m]

    def went(self, plan: Plan) -> bool:
        """Whether the log followed this very plan; where answers change it, on the same way."""
        held, row = self.held, self.row
        if (plan.tiers, plan.accept) != held.planned[row] or (plan.onward is not None) != held.replans[row]:
            return False
        return plan.onward is None or self.walk(plan, known=True)[1] == held.asked[row]

    def walk(self, plan: Plan, *, known: bool) -> tuple[tuple[float, float, float], tuple[TierName, ...]]:
        """P(correct) in the end, USD, share of its calls that are known; and the tiers asked.

        known: the log's answers count, where it has them. They alone change a plan that answers may change, and the
        surest of them is the one that would stand."""
        reached, correct, spent, calls, seen, surest = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
        path: list[int] = []
        while reached > 0 and len(path) < len(plan.tiers):
            tier = self.held.tiers.index(plan.tiers[len(path)])
            chance, (wrong, right) = self._chance(path, tier), self.outlook.passing[tier]
            path.append(tier)
            spent += reached * float(self.usd[tier])
            calls += reached
            if known and not np.isnan(self.held.correct[self.row, tier]):
                seen += reached
                chance = float(self.held.correct[self.row, tier])
                confidence = float(self.held.confidence[self.row, tier])
                if not np.isnan(confidence):
                    surest = max(surest, confidence)
                    plan = _replanned(plan, len(path), confidence, surest)
                    wrong = right = float(confidence >= plan.accept[len(path) - 1])
            if len(path) == len(plan.tiers) or plan.accept[len(path) - 1] == 0:
                wrong = right = 1.0
            correct += reached * right * chance
            reached *= 1 - wrong - (right - wrong) * chance
        return (correct, spent, seen / max(calls, 1e-12)), tuple(self.held.tiers[tier] for tier in path)

    def _chance(self, left: list[int], tier: int) -> float:
        """P(correct) of a tier whose answer the log does not have."""
        likely = float(self.likely[tier]) + float(self.outlook.harder[left, tier].sum())
        return min(max(likely, 0.01), 0.99)


def _replanned(plan: Plan, asked: int, confidence: float, standing: float) -> Plan:
    return plan.onward.replan(plan, plan.tiers[:asked], confidence, standing) if plan.onward else plan


def _calibration(held: Held, outlook: Outlook) -> tuple[float | None, tuple[tuple[float, float, int], ...]]:
    """Of the tier that every query was asked of first; others were asked only what the first had left."""
    rows = np.flatnonzero(held.first >= 0)
    if not len(rows):
        return None, ()
    said = np.clip(outlook.learned.mean(held.features)[rows, held.first[rows]], 0.0, 1.0).astype(np.float64)
    true = held.correct[rows, held.first[rows]]
    tenth = np.minimum((said * 10).astype(np.intp), 9)
    table = tuple(
        (float(said[tenth == each].mean()), float(true[tenth == each].mean()), int((tenth == each).sum()))
        for each in np.unique(tenth)
    )
    return float(np.mean((said - true) ** 2)), table
