"""A learning policy: expects, prices and mixes plans; before its first version it walks the fixed ladder and explores.

Familiar queries are planned by their category's record, the others by the learned model (EMAFusion, arXiv 2504.10681).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import msgspec
import numpy as np

from pipeline.router.mixture import Mixed, Mixture, mix
from pipeline.router.onward import Prospect, Replanner, laid_out
from pipeline.router.outlook import Ladder, Outlook, outlook_of
from pipeline.router.planner import Path, expect, paths_over
from pipeline.router.pricing import Sampled, price_for_money, price_for_quality
from pipeline.router.scoring import Scoring
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import Codes, Floats, Matrix32
from schemas.ids import TierName
from schemas.records import Assignment, Pin, Plan, Query, Route

DRAWS = 12  # of θ, to tell what rewards leave open
PROFILED = 30.0  # weight of a tier's graded answers from which it is no stranger any more

Allowed = Callable[[Assignment], frozenset[TierName] | None]


class Features(Protocol):
    def matrix(self, queries: Sequence[Query], assigned: Sequence[Assignment]) -> Matrix32:
        """[n, d], of the columns that the statistics are over."""
        ...


@dataclass(frozen=True, slots=True)
class _Scored:
    """What a policy makes of a batch of n queries."""

    likely: Matrix32  # [n, m] P(correct) of each tier, asked first
    usd: Floats  # [n, m] cost of each tier
    route: list[Route]  # [n]


class PlannedPolicy:
    def __init__(
        self,
        name: str,
        scoring: Scoring,
        snapshot: Snapshot | None,
        ladder: Ladder,
        allowed: Allowed,
        features: Features,
        *,
        epsilon: float | None = None,
        price: float | None = None,
        profile: float = 0.0,
        replans: bool = False,
        fuses: bool = False,
    ) -> None:
        """epsilon: share of queries that explore, None: the policy's own; price: λ in USD⁻¹, None: as quality allows;
        profile: share that begins with a tier of which a version knows little; replans: plans are made again after each
        answer; fuses: answers vote. The snapshot's statistics are over the columns of `features`."""
        self.version = snapshot.version if snapshot else f"{name}@0"
        self._scoring, self._ladder, self._allowed, self._features = scoring, ladder, allowed, features
        self._epsilon = scoring.epsilon if epsilon is None else epsilon
        self._stats = snapshot.statistics if snapshot else None
        self._outlook = outlook_of(snapshot.statistics, ladder) if snapshot else None
        self._codes = {path: code for code, path in enumerate(self._stats.categories)} if self._stats else {}
        self._profile, self._strange = profile, self._strangers()
        learned = snapshot is not None and scoring.longest > 1
        self._fuses, self._replans = fuses and learned, replans and learned
        self._voices = _voices(self._outlook, ladder)
        self._known_plans: dict[tuple[object, ...], Plan] = {}
        self._sample = self._expect_sample()
        self._price = price_for_quality(self._sample) if price is None else price

    def price_of_money(self, usd_per_query: float) -> float:
        """λ: what quality or the spec sets, and more where the money left does not reach."""
        queries = sum(len(each.ladder[0]) for each in self._sample)
        return max(self._price, price_for_money(self._sample, usd_per_query * queries))

    def plan(self, queries: Sequence[Query], assigned: Sequence[Assignment], pin: Pin) -> list[Plan]:
        scored = self._score(queries, assigned, pin.seed)
        plans: dict[int, Plan] = {}
        for tiers, rows in self._by_allowed(assigned).items():
            paths = self._paths_over(tiers)
            best = self._best(paths, scored, rows, pin.price_of_money)
            paths, mixture = self._mixture(paths, tiers)
            mixed = mix(best, mixture, pin.seed, [queries[row].query_id for row in rows])
            drawn = zip(
                rows, mixed.path.tolist(), mixed.explored.tolist(), mixed.propensity.tolist(), strict=True
            )
            for row, path, explored, propensity in drawn:
                route = "explore" if explored else scored.route[row]
                plans[row] = self._plan(paths[path], tiers, route, propensity)
            if self._replans:
                self._add_prospects(plans, scored, tiers, rows, mixed, pin)
        return [plans[row] for row in range(len(queries))]

    def _mixture(self, paths: list[Path], tiers: Path) -> tuple[list[Path], Mixture]:
        """The list, and after it the paths that only a profile run goes."""
        strange = [tier for tier in tiers if tier in self._strange] if self._profile else []
        fronts = [[_in_front(new, path, self._scoring.longest) for new in strange] for path in paths]
        every = list(dict.fromkeys([*paths, *(path for each in fronts for path in each)]))
        number = {path: at for at, path in enumerate(every)}
        fronted = np.array([[number[path] for path in each] for each in fronts], dtype=np.intp)
        return every, Mixture(
            paths=len(paths),
            epsilon=self._epsilon,
            profile=self._profile,
            fronted=fronted.reshape(len(paths), len(strange)),
            apart=self._replans,
        )

    def _strangers(self) -> frozenset[int]:
        """Tiers that the version that stands knows little of, by their place in the ladder."""
        if self._stats is None:
            return frozenset()
        weight = dict(zip(self._stats.tiers, self._stats.weight.tolist(), strict=True))
        return frozenset(at for at, tier in enumerate(self._ladder.tiers) if weight.get(tier, 0.0) < PROFILED)

    def _add_prospects(
        self, plans: dict[int, Plan], scored: _Scored, tiers: Path, rows: list[int], mixed: Mixed, pin: Pin
    ) -> None:
        """An explored path is walked as drawn: planned again, it would hardly be another one."""
        assert self._outlook is not None
        rule = Replanner(
            self._outlook, self._ladder.tiers, self._ladder.accept, pin.price_of_money, self._fuses
        )
        for row in np.array(rows)[~mixed.explored].tolist():
            likely, usd = tuple(scored.likely[row].tolist()), tuple(scored.usd[row].tolist())
            plans[row] = msgspec.structs.replace(plans[row], onward=Prospect(rule, tiers, likely, usd))

    def _score(self, queries: Sequence[Query], assigned: Sequence[Assignment], seed: int) -> _Scored:
        if self._outlook is None:
            nothing = np.zeros((len(queries), 0), dtype=np.float32)
            routes: list[Route] = ["rule" if each.source == "rule" else "ladder" for each in assigned]
            return _Scored(nothing, nothing.astype(np.float64), routes)
        x, random = self._features.matrix(queries, assigned), np.random.default_rng(seed)
        likely = self._scoring.score(self._outlook.learned, x, random)
        code = np.array([self._codes.get(each.category, 0) for each in assigned], dtype=np.intp)
        familiar = np.array([each.familiar for each in assigned], dtype=np.bool_) & self._outlook.known[code]
        likely[familiar] = self._scoring.score(self._outlook.suited, code[familiar], random)
        return _Scored(likely, self._outlook.cost(x), np.where(familiar, "taxonomy", "learned").tolist())

    def _by_allowed(self, assigned: Sequence[Assignment]) -> dict[tuple[int, ...], list[int]]:
        """Rows by the positions of the tiers that may see them."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, each in enumerate(assigned):
            allowed = self._allowed(each)
            may = [at for at, tier in enumerate(self._ladder.tiers) if allowed is None or tier in allowed]
            groups[tuple(may)].append(row)
        return groups

    def _paths_over(self, tiers: tuple[int, ...]) -> list[Path]:
        """A policy of single calls asks the whole ladder only until it has learned something."""
        if self._scoring.longest == 1 and self._outlook is not None and tiers:
            return [(tier,) for tier in tiers]
        return paths_over(tiers, self._scoring.longest)

    def _best(self, paths: Sequence[Path], scored: _Scored, rows: list[int], price: float) -> Codes:
        if self._outlook is None or not paths[0]:
            return np.full(len(rows), len(paths) - 1)
        return expect(self._outlook, paths, scored.likely[rows], scored.usd[rows]).best(price)

    def _plan(self, path: Path, tiers: tuple[int, ...], route: Route, propensity: float) -> Plan:
        key = (path, tiers, route, propensity)
        if key not in self._known_plans:
            asked, accept = laid_out(tiers, self._ladder.accept, path)
            certain = self._scoring.certain or self._outlook is None
            self._known_plans[key] = Plan(
                tiers=tuple(self._ladder.tiers[tier] for tier in asked),
                accept=accept,
                route=route,
                policy_version=self.version,
                propensity=propensity if certain else None,
                fuses=self._fuses,
                voices=self._voices,
            )
        return self._known_plans[key]

    def _expect_sample(self) -> list[Sampled]:
        """What each plan would get of a sample of the queries seen."""
        if self._outlook is None or self._stats is None:
            return []
        outlook, stats, groups = self._outlook, self._stats, []
        seeds = [np.random.default_rng(number) for number in range(DRAWS)]
        taking = seeds if not self._scoring.certain else seeds[:1]
        thetas = [outlook.learned.drawn(np.random.default_rng(DRAWS + number)) for number in range(DRAWS)]
        assigned = [_in_category(stats.categories[code]) for code in stats.sample_category.tolist()]
        for tiers, rows in self._by_allowed(assigned).items():
            if not tiers:
                continue
            x = stats.sample[rows]
            usd, paths = outlook.cost(x), self._paths_over(tiers)
            likely, true = outlook.learned.mean(x), [theta.mean(x) for theta in thetas]
            taken = [self._scoring.score(outlook.learned, x, random) for random in taking]
            ladder = [expect(outlook, [tiers], each, usd) for each in (likely, *true)]
            groups.append(
                Sampled(
                    taken=[expect(outlook, paths, each, usd) for each in taken],
                    cost=expect(outlook, paths, likely, usd).usd,
                    true=[expect(outlook, paths, each, usd).correct for each in true],
                    ladder=[each.correct[:, 0] for each in ladder[1:]],
                    most_usd=float(ladder[0].usd.sum()) if tiers in paths else inf,
                )
            )
        return groups


def _in_category(path: str) -> Assignment:
    return Assignment(category=path, score=1.0, familiar=True, source="rule")


def _in_front(new: int, path: Path, longest: int) -> Path:
    """The path with another tier before what lies above that tier."""
    return (new,) if longest == 1 else (new, *(tier for tier in path if tier > new))


def _voices(outlook: Outlook | None, ladder: Ladder) -> dict[TierName, tuple[float, float]]:
    if outlook is None:
        return {}
    return {
        tier: (shift, scale)
        for tier, (shift, scale) in zip(ladder.tiers, outlook.voices.tolist(), strict=True)
    }
