"""The queries that judge versions and train none: what every tier asked of them said, and how they were routed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.learning.fitting import held_out
from pipeline.learning.learner import Learner
from pipeline.learning.source import Source
from pipeline.router.statistics import Codes, Floats, Matrix32
from schemas.ids import QueryId, TierName
from schemas.records import Assignment, Query

MOST = 10_000  # queries that judge; the latest ones

Planned = tuple[tuple[TierName, ...], tuple[float, ...]]  # tiers, and what each is believed from


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """n queries whose right answers are known, m tiers of the ladder."""

    tiers: tuple[TierName, ...]
    queries: list[Query]  # without their texts: their features are here
    assigned: list[Assignment]
    features: Matrix32  # [n, d]
    correct: Floats  # [n, m], 1 right, 0 wrong, NaN where the tier was not asked
    confidence: Floats  # [n, m], as it was judged then; NaN where it was not
    audited: NDArray[np.bool_]  # [n]
    planned: list[Planned]  # [n], as logged
    replans: NDArray[np.bool_]  # [n], whether the rest of it could be planned again
    asked: list[tuple[TierName, ...]]  # [n], tiers that were asked, in their order
    propensity: Floats  # [n] of that plan; 0 where it is not known
    stood: Floats  # [n], whether the answer that stood was right
    first: Codes  # [n], the tier that was asked first; -1: none of the ladder

    def matrix(self, queries: Sequence[Query], assigned: Sequence[Assignment]) -> Matrix32:
        """As a policy asks for it: these queries' own."""
        return self.features

    @property
    def labelled(self) -> int:
        return len(self.queries)

    def take(self, which: NDArray[np.bool_]) -> "Held":
        rows = np.flatnonzero(which)
        arrays = ("features", "correct", "confidence", "audited", "replans", "propensity", "stood", "first")
        lists = ("queries", "assigned", "planned", "asked")
        changed: dict[str, Any] = {name: getattr(self, name)[rows] for name in arrays}
        changed |= {name: [getattr(self, name)[row] for row in rows] for name in lists}
        return replace(self, **changed)


def read_held(source: Source, learner: Learner) -> Held:
    """Labels that someone chose to give say nothing of the other rows: those queries judge nothing. Nor do judges."""
    rows: list[dict[str, Any]] = []
    features: list[Matrix32] = []
    queries = 0
    for job in reversed(source.jobs):
        for batch, counts in source.batches(job):
            trusted = pc.and_(pc.not_equal(batch["label_source"], "judges"), pc.is_valid(batch["p_labelled"]))
            kept = batch.filter(pc.and_(trusted, pa.array(counts & held_out(batch))))
            rows += kept.drop_columns(["features"]).to_pylist()
            flat = kept["features"].flatten().to_numpy()
            features.append(flat.reshape(len(kept), learner.features.dimensions))
        queries = len({(row["job"], row["query_id"]) for row in rows})
        if queries >= MOST:
            break
    return _pivoted(
        rows, np.concatenate([np.zeros((0, learner.features.dimensions), np.float32), *features]), learner
    )


def _pivoted(rows: Sequence[dict[str, Any]], features: Matrix32, learner: Learner) -> Held:
    """One row a query, of one row an answer."""
    tiers = learner.ladder.tiers
    place = {arm: tiers.index(tier) for arm, tier in learner.arms.items()}
    number: dict[tuple[str, str], int] = {}
    first_row = []
    for at, row in enumerate(rows):
        key = (row["job"], row["query_id"])
        if key not in number:
            number[key] = len(number)
            first_row.append(at)
    shape = (len(number), len(tiers))
    correct, confidence = np.full(shape, np.nan), np.full(shape, np.nan)
    propensity, stood, first = np.zeros(shape[0]), np.zeros(shape[0]), np.full(shape[0], -1, dtype=np.intp)
    planned: list[Planned] = [((), ())] * shape[0]
    replans, asked = np.zeros(shape[0], dtype=np.bool_), [dict[int, TierName]() for _ in range(shape[0])]
    for row in rows:
        query = number[row["job"], row["query_id"]]
        tier = place.get(TierName(f"{row['tier']} {row['model']}"), -1)
        if row["position"] == 0:
            planned[query] = (tuple(row["tiers_planned"]), tuple(row["accept_planned"]))
            replans[query] = row.get("replans") or False  # files of older versions lack the column
            propensity[query] = row["propensity"] or 0.0
            first[query] = tier
        if row["position"] is not None:
            asked[query][row["position"]] = TierName(row["tier"])
        if row["stands"]:
            stood[query] = row["reward"]
        if tier >= 0:
            correct[query, tier] = row["reward"]
            confidence[query, tier] = np.nan if row["confidence"] is None else row["confidence"]
    return Held(
        tiers=tiers,
        queries=[Query(query_id=QueryId(f"{job}/{name}"), text="") for job, name in number],
        assigned=[_assigned(rows[at]) for at in first_row],
        features=features[first_row],
        correct=correct,
        confidence=confidence,
        audited=np.array([rows[at]["audited"] for at in first_row], dtype=np.bool_),
        planned=planned,
        replans=replans,
        asked=[tuple(each[position] for position in sorted(each)) for each in asked],
        propensity=propensity,
        stood=stood,
        first=first,
    )


def _assigned(row: dict[str, Any]) -> Assignment:
    return Assignment(category=row["category"], score=1.0, familiar=row["familiar"], source="fast")
