"""From reward files to the sums that policies route by. The same files give the same sums; no answer counts twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.features.features import Features
from pipeline.learning.source import Source
from pipeline.router import statistics
from pipeline.router.statistics import SPENT, Graded, Statistics
from schemas.money import TOKEN_CLASSES

HELD_OUT = 5  # one query in so many judges versions and trains none
COLUMNS = (  # what sums are made of
    "tier", "model", "category", "reward", "label_source", "weight", "confidence", "tiers_left", "audited",
    "query_key", "features", *(f"{name}_tokens" for name in TOKEN_CLASSES), "cost_usd", "latency_ms",
)  # fmt: skip
TRUST = 0.7  # before any reward; a job's spec puts its own in place


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What a version holds."""

    statistics: Statistics
    rows: int  # answers that counted
    sources: dict[str, int]  # of their labels


def fit(source: Source, features: Features, discount: float) -> Fit:
    """Every job in turn; what was learned before it weighs γ of what it did."""
    made = statistics.empty(
        dict.fromkeys(source.arms, TRUST),
        ("", *features.categories),
        features.version,
        features.dimensions,
        discount,
    )
    rows, sources = 0, dict[str, int]()
    for job in source.jobs:
        made = statistics.discounted(made)
        for batch, counts in source.batches(job, COLUMNS):
            train = np.flatnonzero(counts & ~held_out(batch))
            if len(train):
                made = statistics.added(made, graded(batch, train, made.tiers, made.categories))
            rows += len(train)
            for each in pc.value_counts(batch["label_source"].take(train)).to_pylist():
                sources[each["values"]] = sources.get(each["values"], 0) + each["counts"]
    return Fit(statistics=made, rows=rows, sources=sources)


def held_out(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """[n], queries that judge versions: those of the audit and a fixed part of the others."""
    keys = batch["query_key"].to_numpy()
    return np.asarray((keys % HELD_OUT == 0) | batch["audited"].to_numpy(zero_copy_only=False))


def graded(
    batch: pa.RecordBatch, rows: NDArray[np.intp], arms: Sequence[str], categories: Sequence[str]
) -> Graded:
    """These rows of rewards as arrays; the features of all are handed on, so that none is copied twice."""
    features = batch["features"].flatten().to_numpy()
    spent = np.empty((len(rows), len(SPENT)), dtype=np.float32)
    for column, name in enumerate(_columns()):
        spent[:, column] = _floats(batch[name])[rows]
    return Graded(
        features=features.reshape(len(batch), -1),
        category=np.maximum(_codes(batch["category"], categories), 0),
        key=batch["query_key"].to_numpy(),
        query=rows,
        tier=_arms(batch["tier"], batch["model"], arms)[rows],
        left=_members(batch["tiers_left"], arms)[rows],
        correct=batch["reward"].to_numpy()[rows],
        weight=batch["weight"].to_numpy()[rows],
        confidence=_floats(batch["confidence"])[rows],
        spent=spent,
    )


def _columns() -> list[str]:
    return [name if name in ("cost_usd", "latency_ms") else f"{name}_tokens" for name in SPENT]


def _codes(column: pa.DictionaryArray, known: Sequence[str]) -> NDArray[np.intp]:
    """Place of each in `known`, -1 for others."""
    place = {name: at for at, name in enumerate(known)}
    places = np.array([place.get(name, -1) for name in (*column.dictionary.to_pylist(), None)], dtype=np.intp)
    return places[_indices(column)]


def _arms(tier: pa.DictionaryArray, model: pa.DictionaryArray, known: Sequence[str]) -> NDArray[np.intp]:
    """Place of each "TIER MODEL" in `known`."""
    models = model.dictionary.to_pylist()
    named = [f"{each} {other}" for each in tier.dictionary.to_pylist() for other in models]
    joined = pa.DictionaryArray.from_arrays(_indices(tier) * len(models) + _indices(model), named)
    return _codes(joined, known)


def _indices(column: pa.DictionaryArray) -> NDArray[np.intp]:
    """-1 for null."""
    return np.asarray(pc.fill_null(column.indices, -1).to_numpy(), dtype=np.intp)


def _members(column: pa.Array, known: Sequence[str]) -> NDArray[np.bool_]:
    """[k, m], which of `known` each list holds."""
    member = np.zeros((len(column), len(known)), dtype=np.bool_)
    held = _codes(column.flatten().dictionary_encode(), known)
    member[pc.list_parent_indices(column).to_numpy()[held >= 0], held[held >= 0]] = True
    return member


def _floats(column: pa.Array) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), 0.0).to_numpy(), dtype=np.float64)
