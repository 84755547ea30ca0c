"""Live policies on recorded outcomes: the planner that routes jobs, taught by the fitting rows and not exploring.

The ladder is the models by their mean cost; a tier is believed by what a job's judges make of its confidence, where one
was recorded, and of its agreement with those before it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.ports.policy import Policy
from pipeline.replay.judged import TRUST, Judged, judged
from pipeline.router.choosing import Fitted, cross_fitted, prices
from pipeline.router.observed import Matrix, Observed, Rows, Tried, Vector
from pipeline.router.onward import Prospect
from pipeline.router.outlook import Ladder
from pipeline.router.planned import PlannedPolicy
from pipeline.router.planner import Path
from pipeline.router.policies import SCORINGS
from pipeline.router.scoring import Scoring
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import SPENT, Codes, Graded, Matrix32, added, empty
from schemas.ids import QueryId, TierName
from schemas.records import Assignment, Pin, Plan, Query

ACCEPT = (0.8, 0.9, 0.98)  # of every tier but a plan's last
KNOBS = 12


@dataclass(slots=True)
class _Columns:
    """The features of the rows that are planned next."""

    x: Matrix32 = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    def matrix(self, queries: Sequence[Query], assigned: Sequence[Assignment]) -> Matrix32:
        return self.x


@dataclass(frozen=True, slots=True)
class Planned:
    """A live policy at a price of money."""

    models: tuple[int, ...]  # the ladder
    policy: Policy
    columns: _Columns
    price: float  # λ, USD⁻¹
    accept: float

    def run(self, rows: Observed) -> Tried:
        self.columns.x = _columns(rows)
        queries = [Query(query_id=QueryId(str(row)), text="") for row in range(len(rows))]
        pin = Pin(policy_version=self.policy.version, price_of_money=self.price, seed=0)
        plans = self.policy.plan(queries, [_in(code) for code in rows.category.tolist()], pin)
        walk = _Walk(judged(rows), self.models, self.accept, plans)
        groups = defaultdict(list)
        for row, plan in enumerate(plans):
            groups[plan.tiers[: plan.planned]].append(row)
        for tiers, members in groups.items():
            walk.climb(np.array(members), (), tuple(self.models.index(int(tier)) for tier in tiers))
        return walk.tried


class _Walk:
    """Rows on their way, those that go the same way together."""

    def __init__(self, seen: Judged, models: Path, accept: float, plans: Sequence[Plan]) -> None:
        self._seen, self._models, self._accept, self._plans = seen, models, accept, plans
        voices = plans[0].voices if plans else {}
        self._voices = tuple(voices[TierName(str(model))] for model in sorted(models))
        count = len(seen.rows)
        self.tried = Tried(correct=np.zeros(count), cost=np.zeros(count), calls=np.zeros(count))

    def climb(self, at: Rows, asked: Path, planned: Path) -> None:
        """`asked` and `planned`: positions in the ladder."""
        before, model = tuple(self._models[place] for place in asked), self._models[planned[0]]
        asked, planned = (*asked, planned[0]), planned[1:]
        self.tried.cost[at] += self._seen.rows.cost[at, model]
        self.tried.calls[at] += 1
        left = self._seen.confidence(model, before)[at] < self._accept
        self._stop(at[~left], asked)
        for way, rows in self._onward(at[left], asked, planned):
            if way:
                self.climb(rows, asked, way)
            else:
                self._stop(rows, asked)

    def _onward(self, at: Rows, asked: Path, planned: Path) -> Iterator[tuple[Path, Rows]]:
        above = tuple(range(asked[-1] + 1, len(self._models)))
        prospects = [self._plans[row].onward for row in at.tolist()]
        if not above or not len(at) or prospects[0] is None:
            yield planned, at
            return
        known = [each for each in prospects if isinstance(each, Prospect)]
        likely, usd = np.array([each.likely for each in known]), np.array([each.usd for each in known])
        standing = self._vote(asked)[1][at]
        ways, chosen = known[0].rule.rest(likely, usd, asked, planned, above, standing)
        for number in np.unique(chosen).tolist():
            yield ways[number], at[chosen == number]

    def _stop(self, at: Rows, asked: Path) -> None:
        if len(at) == 0:
            return
        fuses = self._plans[at[0]].fuses
        stands = self._vote(asked)[0][at] if fuses else self._models[asked[-1]]
        self.tried.correct[at] = self._seen.rows.correct[at, stands]

    def _vote(self, asked: Path) -> tuple[Codes, Vector]:
        return self._seen.vote(tuple(self._models[place] for place in asked), self._voices)


def fit_live(name: str, rows: Observed, *, fuses: bool = True, replans: bool = False) -> Fitted:
    """One rule per price of money and threshold; what each got is cross-fitted."""
    scoring = SCORINGS[name]()
    lambdas = 1 / prices(rows, KNOBS)
    return cross_fitted(lambda part: live_rules(scoring, part, lambdas, fuses=fuses, replans=replans), rows)


def live_rules(
    scoring: Scoring, rows: Observed, lambdas: Vector, *, fuses: bool, replans: bool
) -> list[Planned]:
    """At every threshold, then at every price of money."""
    ladder = tuple(np.argsort(rows.cost.mean(axis=0)).tolist())
    tiers = tuple(TierName(str(model)) for model in ladder)
    rules = []
    for accept in ACCEPT:
        terms = Ladder(
            tiers=tiers, accept=np.full(len(tiers), accept), trust=dict.fromkeys(tiers, TRUST), prices={}
        )
        learned, columns = _learned(judged(rows), ladder, tiers, accept), _Columns()
        policy = PlannedPolicy(
            "replayed", scoring, learned, terms, lambda assignment: None, columns,
            epsilon=0.0, price=0.0, fuses=fuses, replans=replans,
        )  # fmt: skip
        rules += [Planned(ladder, policy, columns, float(price), accept) for price in lambdas]
    return rules


def _learned(seen: Judged, ladder: Path, tiers: tuple[TierName, ...], accept: float) -> Snapshot:
    """Each row is graded twice, at half its weight: every tier asked first, as in an audit, and up the ladder."""
    rows, count, m = seen.rows, len(seen.rows), len(ladder)
    categories = ("", *(str(code) for code in range(int(rows.category.max(initial=-1)) + 1)))
    first = [seen.confidence(model, ()) for model in ladder]
    later = [seen.confidence(model, ladder[:place]) for place, model in enumerate(ladder)]
    confidence = np.stack([np.column_stack(first), np.column_stack(later)])
    left = np.zeros((2, count, m, m), dtype=np.bool_)
    for place in range(1, m):
        left[1, :, place, :place] = confidence[1, :, :place] < accept
    reached = np.ones((2, count, m))
    reached[1, :, 1:] = np.cumprod(confidence[1, :, :-1] < accept, axis=1)
    query, tier = np.divmod(np.arange(count * m), m)
    spent = np.zeros((2 * count * m, len(SPENT)), dtype=np.float32)
    spent[:, SPENT.index("cost_usd")] = np.tile(rows.cost[:, ladder].ravel(), 2)
    x = _columns(rows)
    graded = Graded(
        features=x,
        category=rows.category + 1,
        key=np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        query=np.tile(query, 2),
        tier=np.tile(tier, 2),
        left=left.reshape(-1, m),
        correct=np.tile(rows.correct[:, ladder].ravel(), 2),
        weight=0.5 * reached.ravel(),
        confidence=confidence.ravel(),
        spent=spent,
    )
    sums = added(empty(dict.fromkeys(tiers, TRUST), categories, "replayed", x.shape[1]), graded)
    return Snapshot(version="replayed@1", parents=(), rewards=(), statistics=sums)


def _columns(rows: Observed) -> Matrix32:
    """[n, d]: 1, no length (costs are those recorded), the text."""
    made: Matrix = np.column_stack([np.ones(len(rows)), np.zeros(len(rows)), rows.features])
    return made.astype(np.float32)


def _in(code: int) -> Assignment:
    """Of a category, where the outcomes have any: planned by its record, the others by the learned model."""
    path = str(code) if code >= 0 else ""
    return Assignment(category=path, score=1.0, familiar=code >= 0, source="fast" if code >= 0 else "none")
