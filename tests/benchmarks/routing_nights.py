"""What live policies make of three nights, on recorded outcomes: the fourth night beside the fixed ladder's.

python -m tests.benchmarks.routing_nights [--quick]

Each repeat shuffles the queries of four sets into nights. Policies learn only from answers they paid for, all of them
labelled; the set a query is of is its category. Prices are as recorded; the fourth night does not explore.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from pipeline.features.features import Features
from pipeline.features.hashing import HashingEncoder
from pipeline.router.calibration import calibration
from pipeline.router.outlook import Ladder, outlook_of
from pipeline.router.planned import PlannedPolicy
from pipeline.router.policies import SCORINGS
from pipeline.router.policies.epsilon_greedy import EpsilonGreedy
from pipeline.router.scoring import Scoring
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import SPENT, Graded, Statistics, added, empty
from schemas.ids import QueryId, TierName
from schemas.records import Assignment, Pin, Plan, Query
from tests.benchmarks.figures import summed, write
from tests.data import FOLDER

TIERS = tuple(map(TierName, ("llama3.1-8b", "gpt-4o-mini", "llama3.1-70b", "gpt-4o")))
SETS = ("mmlu", "medmcqa", "triviaqa", "truthfulqa")
ACCEPT = (0.9, 0.98)  # of every tier but the last
NIGHTS, EPSILON = 3, 0.1
POLICIES = {name: make() for name, make in SCORINGS.items()}
FEATURES = Features(HashingEncoder(dimensions=48), SETS)
KEY = {"correct": "accuracy", "usd": "USD per 1000 queries"}

Answers = dict[TierName, dict[str, Any]]  # of one query, by tier


@dataclass(frozen=True)
class Call:
    row: int
    tier: int
    left: tuple[bool, ...]
    answer: dict[str, Any]


def main() -> None:
    repeats = 4 if "--quick" in sys.argv else 20
    outcomes = read()
    figures: dict[str, Any] = {}
    for accept in ACCEPT:
        with threadpool_limits(1):
            found = [repeat(outcomes, accept, number) for number in range(repeats)]
        ladder = np.array([each["fixed-ladder"] for each in found])
        print(
            f"\naccept {accept}: {repeats} repeats, mean ± standard error; differences are paired with the ladder's"
        )
        for name in found[0]:
            own = np.array([each[name] for each in found])
            figures[f"{name}, accept {accept}"] = {
                label: summed(own[:, column].tolist(), label, 4) for column, label in enumerate(KEY.values())
            }
            print(
                f"{name:26} accuracy {own[:, 0].mean():.4f}   ${own[:, 1].mean():.4f} per 1000   {paired(own, ladder)}"
            )
    print_calibration(outcomes, repeats)
    write("routing_nights", figures)


def paired(own: Any, ladder: Any) -> str:
    gain, ratio = own[:, 0] - ladder[:, 0], own[:, 1] / ladder[:, 1]
    error = gain.std(ddof=1) / len(gain) ** 0.5
    return f"{gain.mean():+.4f} ± {error:.4f}, {ratio.mean():.2f} times the cost"


def read() -> dict[QueryId, Answers]:
    table = pq.read_table(FOLDER / "outcomes_cascades9_train.parquet")
    by_query: dict[QueryId, Answers] = defaultdict(dict)
    for row in table.to_pylist():
        row["set"] = row["dataset"].rpartition("/")[2]
        if row["set"] in SETS and row["model"] in TIERS:
            by_query[QueryId(row["query_id"])][TierName(row["model"])] = row
    return {query: answers for query, answers in by_query.items() if len(answers) == len(TIERS)}


def nights_of(outcomes: dict[QueryId, Answers], seed: int) -> list[list[QueryId]]:
    order = np.random.default_rng(seed).permutation(sorted(outcomes)).tolist()
    return [list(night) for night in np.array_split(order, NIGHTS + 1)]


def repeat(outcomes: dict[QueryId, Answers], accept: float, seed: int) -> dict[str, tuple[float, float]]:
    """Accuracy and USD per 1000 queries of the last night."""
    *earlier, last = nights_of(outcomes, seed)
    fixed = policy_of(EpsilonGreedy(), None, accept, epsilon=0.0)
    found = {"fixed-ladder": night(outcomes, fixed, last, False, seed)[1]}
    for name, scoring in POLICIES.items():
        for route, familiar in (("learned", False), ("taxonomy", True)):
            stats = learn(outcomes, scoring, earlier, accept, familiar, seed)
            policy = policy_of(scoring, stats, accept, epsilon=0.0)
            found[f"{name}, {route}"] = night(outcomes, policy, last, familiar, seed)[1]
    return found


def learn(
    outcomes: dict[QueryId, Answers], scoring: Scoring, earlier: Sequence[list[QueryId]], accept: float,
    familiar: bool, seed: int,
) -> Statistics:  # fmt: skip
    stats = empty(dict.fromkeys(TIERS, 0.7), ("", *SETS), FEATURES.version, FEATURES.dimensions)
    for number, ids in enumerate(earlier):
        policy = policy_of(scoring, stats if number else None, accept, EPSILON)
        stats = added(stats, night(outcomes, policy, ids, familiar, 100 * seed + number)[0])
    return stats


def policy_of(scoring: Scoring, stats: Statistics | None, accept: float, epsilon: float) -> PlannedPolicy:
    snapshot = stats and Snapshot(version="p@1", parents=(), rewards=(), statistics=stats)
    return PlannedPolicy(
        "p", scoring, snapshot or None, ladder_of(accept), lambda assignment: None, FEATURES, epsilon=epsilon
    )


def ladder_of(accept: float) -> Ladder:
    return Ladder(tiers=TIERS, accept=np.full(len(TIERS), accept), trust=dict.fromkeys(TIERS, 0.7), prices={})


def night(
    outcomes: dict[QueryId, Answers], policy: PlannedPolicy, ids: Sequence[QueryId], familiar: bool, seed: int
) -> tuple[Graded, tuple[float, float]]:
    queries = [Query(query_id=name, text=outcomes[name][TIERS[0]]["text"]) for name in ids]
    assigned = [in_set(outcomes[name][TIERS[0]]["set"], familiar) for name in ids]
    pin = Pin(policy_version="", price_of_money=policy.price_of_money(1.0), seed=seed)
    plans = policy.plan(queries, assigned, pin)
    walks = [walk(outcomes[name], plan, row) for row, (name, plan) in enumerate(zip(ids, plans, strict=True))]
    right = float(np.mean([each[-1].answer["correct"] for each in walks]))
    calls = [call for each in walks for call in each]
    usd = sum(call.answer["cost_usd"] for call in calls) / len(ids)
    return graded_of(queries, assigned, calls), (right, 1000 * usd)


def in_set(name: str, familiar: bool) -> Assignment:
    return Assignment(category=name, score=1.0, familiar=familiar, source="fast")


def walk(answers: Answers, plan: Plan, row: int) -> list[Call]:
    calls, left = [], [False] * len(TIERS)
    for position, name in enumerate(plan.tiers):
        tier = TIERS.index(name)
        calls.append(Call(row, tier, tuple(left), answers[name]))
        if confidence(answers[name]) >= plan.accept[position]:
            break
        left[tier] = True
    return calls


def confidence(answer: dict[str, Any]) -> float:
    said = answer["confidence"]
    return 0.5 if said is None or said != said else min(max(said, 0.0), 1.0)


def graded_of(queries: Sequence[Query], assigned: Sequence[Assignment], calls: Sequence[Call]) -> Graded:
    spent = np.zeros((len(calls), len(SPENT)))
    spent[:, SPENT.index("cost_usd")] = [call.answer["cost_usd"] for call in calls]
    return Graded(
        features=FEATURES.matrix(queries, assigned),
        category=np.array([1 + SETS.index(each.category) for each in assigned]),
        key=np.random.default_rng(len(calls)).integers(0, 2**62, len(queries)).astype(np.uint64),
        query=np.array([call.row for call in calls]),
        tier=np.array([call.tier for call in calls]),
        left=np.array([call.left for call in calls]),
        correct=np.array([float(call.answer["correct"]) for call in calls]),
        weight=np.ones(len(calls)),
        confidence=np.array([confidence(call.answer) for call in calls]),
        spent=spent,
    )


def print_calibration(outcomes: dict[QueryId, Answers], repeats: int) -> None:
    """Of P(correct) of each tier asked first, for queries of the last night, whatever was asked of them."""
    said, true = [], []
    for seed in range(repeats):
        *earlier, last = nights_of(outcomes, seed)
        stats = learn(outcomes, EpsilonGreedy(), earlier, ACCEPT[0], False, seed)
        queries = [Query(query_id=name, text=outcomes[name][TIERS[0]]["text"]) for name in last]
        x = FEATURES.matrix(queries, [in_set(outcomes[name][TIERS[0]]["set"], False) for name in last])
        said.append(np.clip(outlook_of(stats, ladder_of(ACCEPT[0])).learned.mean(x), 0.01, 0.99).ravel())
        true.append(
            np.array([[outcomes[name][tier]["correct"] for tier in TIERS] for name in last], float).ravel()
        )
    print("\ncalibration of P(correct) before any call, all tiers:")
    print("\n".join(calibration(np.concatenate(said).astype(np.float64), np.concatenate(true)).lines()))


if __name__ == "__main__":
    main()
