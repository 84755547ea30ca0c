"""What graded calls teach, as sums: adding is all there is to learning, so a version is a function of its rewards.

Of each tier: least squares of correctness over the features of a query and over which tiers had left it before
(a query that a tier left is a harder one), of tokens, cost and latency over its length, its score by confidence.
Tokens are kept, not prices: a new price needs no relearning.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.ids import TierName
from schemas.money import TOKEN_CLASSES

Matrix32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

BINS = 101  # of confidence: hundredths
SPENT = (*TOKEN_CLASSES, "cost_usd", "latency_ms")
SAMPLE = 256  # queries kept to price money by
LENGTH = 2  # the first features of a query: 1, and its length
_CHUNK = 1 << 13  # calls whose products are reckoned in float32 before they are added up in float64


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """Calls whose answers were graded (k of them), and the queries they were for (n)."""

    features: Matrix32  # [n, d]; the first is 1, the second the length
    category: Codes  # [n]
    key: NDArray[np.uint64]  # [n], a hash of job and query: the same query has the same key for ever
    query: Codes  # [k], row of the call's query
    tier: Codes  # [k]
    left: NDArray[
        np.bool_
    ]  # [k, m], tiers whose answers were not believed before this call; none for an audit's
    correct: Floats  # [k], 0..1
    weight: Floats  # [k], trust in the label
    confidence: Floats  # [k], P(correct) as it was judged then
    spent: Matrix32  # [k, len(SPENT)], tokens by class, USD, ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Weighted sums over graded calls. m tiers, c categories, d features, e = d + m."""

    tiers: tuple[TierName, ...]
    categories: tuple[str, ...]
    features: str  # version of what made them
    discount: float  # γ, of all that is older than the latest update
    trust: Floats  # [m], P(correct) before any reward
    gram: Floats  # [m, e, e]
    moment: Floats  # [m, e], features · correct
    spent: Floats  # [m, LENGTH, len(SPENT)], (1, length) · what was spent
    judged: Floats  # [m, BINS, 2], weight and weight · correct by confidence
    suited: Floats  # [c, m, 2], weight and weight · correct of calls before which no tier had left the query
    sample_key: NDArray[
        np.uint64
    ]  # [s], the smallest keys seen: a uniform sample in whatever order they come
    sample: Matrix32  # [s, d]
    sample_category: Codes  # [s]

    @property
    def dimensions(self) -> int:
        """d"""
        return int(self.sample.shape[1])

    @property
    def weight(self) -> Floats:
        """[m], the weight of all calls of a tier."""
        return self.gram[:, 0, 0]


def empty(
    trust: Mapping[TierName, float],
    categories: Sequence[str],
    features: str,
    dimensions: int,
    discount: float = 1.0,
) -> Statistics:
    """Nothing seen. `trust`: of each tier, in the order of the ladder; `dimensions`: d."""
    m, c, e = len(trust), len(categories), dimensions + len(trust)
    return Statistics(
        tiers=tuple(trust),
        categories=tuple(categories),
        features=features,
        discount=discount,
        trust=np.array(list(trust.values())),
        gram=np.zeros((m, e, e)),
        moment=np.zeros((m, e)),
        spent=np.zeros((m, LENGTH, len(SPENT))),
        judged=np.zeros((m, BINS, 2)),
        suited=np.zeros((c, m, 2)),
        sample_key=np.zeros(0, dtype=np.uint64),
        sample=np.zeros((0, dimensions), dtype=np.float32),
        sample_category=np.zeros(0, dtype=np.intp),
    )


def added(stats: Statistics, graded: Graded) -> Statistics:
    """The sums with these calls: the same, up to rounding, in whatever order calls are added."""
    bins = (graded.confidence * (BINS - 1) + 1e-9).astype(np.intp)
    judged = stats.judged + _counted(graded, graded.tier * BINS + bins, stats.judged.shape[:2])
    place = graded.category[graded.query] * len(stats.tiers) + graded.tier
    first = ~np.asarray(graded.left.any(axis=1))
    suited = stats.suited + _counted(graded, place, stats.suited.shape[:2], first)
    gram, moment, spent = stats.gram.copy(), stats.moment.copy(), stats.spent.copy()
    for start in range(0, len(graded.tier), _CHUNK):
        _add(gram, moment, spent, graded, start + np.arange(len(graded.tier[start : start + _CHUNK])))
    changed = replace(stats, gram=gram, moment=moment, spent=spent, judged=judged, suited=suited)
    return _sampled(changed, graded.key, graded.features, graded.category)


def _counted(
    graded: Graded, place: Codes, shape: tuple[int, ...], which: NDArray[np.bool_] | bool = True
) -> Floats:
    """[*shape, 2]: weight, and weight · correct, by place."""
    weight, size = np.where(which, graded.weight, 0.0), int(np.prod(shape))
    sums = [np.bincount(place, each, minlength=size) for each in (weight, weight * graded.correct)]
    return np.stack(sums, axis=-1).astype(np.float64).reshape(*shape, 2)


def _add(gram: Floats, moment: Floats, spent: Floats, graded: Graded, calls: Codes) -> None:
    """Of each tier all from one product yᵀy, of which only a half is reckoned."""
    e = moment.shape[1]
    tier = graded.tier[calls].astype(np.int16)
    y = _weighted(graded, calls[np.argsort(tier, kind="stable")])
    ends = np.cumsum(np.bincount(tier, minlength=len(moment)))
    for each, part in enumerate(np.split(y, ends[:-1])):
        product = part.T @ part
        gram[each] += product[:e, :e]
        moment[each] += product[:e, e]
        spent[each] += product[:LENGTH, e + 1 :]


def _weighted(graded: Graded, calls: Codes) -> Matrix32:
    """[k, e + 1 + len(SPENT)]: features, tiers that had left, and what is explained by them, each by √weight."""
    columns = (
        graded.features[graded.query[calls]],
        graded.left[calls],
        graded.correct[calls, None],
        graded.spent[calls],
    )
    weight = np.sqrt(graded.weight[calls], dtype=np.float32)[:, None]
    y = np.empty((len(calls), sum(each.shape[1] for each in columns)), dtype=np.float32)
    start = 0
    for each in columns:
        np.multiply(each, weight, out=y[:, start : start + each.shape[1]], casting="same_kind")
        start += each.shape[1]
    return y


def _sampled(stats: Statistics, key: NDArray[np.uint64], features: Matrix32, category: Codes) -> Statistics:
    """Bottom-k sampling: who has the smallest keys stays."""
    full = len(stats.sample_key) == SAMPLE
    new = (
        np.flatnonzero(key < stats.sample_key[-1]) if full else np.unique(key, return_index=True)[1][:SAMPLE]
    )
    keys, first = np.unique(np.concatenate([stats.sample_key, key[new]]), return_index=True)
    kept = first[:SAMPLE]
    return replace(
        stats,
        sample_key=keys[:SAMPLE],
        sample=np.concatenate([stats.sample, features[new]])[kept],
        sample_category=np.concatenate([stats.sample_category, category[new]])[kept],
    )


def merged(one: Statistics, other: Statistics) -> Statistics:
    """Both, of the same tiers, categories and features."""
    summed = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    return _sampled(replace(one, **summed), other.sample_key, other.sample, other.sample_category)


def discounted(stats: Statistics) -> Statistics:
    """Everything seen so far weighs γ of what it did: once for each update."""
    return replace(stats, **{name: getattr(stats, name) * stats.discount for name in _SUMS})


_SUMS = ("gram", "moment", "spent", "judged", "suited")


def with_tier(stats: Statistics, name: TierName, trust: float) -> Statistics:
    """One more tier, of which nothing is known but its trust; the same where it is known already."""
    if name in stats.tiers:
        return stats
    return replace(
        stats,
        tiers=(*stats.tiers, name),
        trust=np.append(stats.trust, trust),
        gram=np.pad(stats.gram, ((0, 1), (0, 1), (0, 1))),
        moment=np.pad(stats.moment, ((0, 1), (0, 1))),
        spent=np.pad(stats.spent, ((0, 1), (0, 0), (0, 0))),
        judged=np.pad(stats.judged, ((0, 1), (0, 0), (0, 0))),
        suited=np.pad(stats.suited, ((0, 0), (0, 1), (0, 0))),
    )


def encode(stats: Statistics) -> bytes:
    """The same bytes for the same statistics (NumPy's npz, nothing pickled)."""
    held = io.BytesIO()
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(stats, field.name)) for field in fields(stats)}
    np.savez(held, **arrays)
    return held.getvalue()


def decode(data: bytes) -> Statistics:
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        read: dict[str, Any] = {name: held[name] for name in held.files}
    for name in ("tiers", "categories"):
        read[name] = tuple(map(str, read[name]))
    return Statistics(**{**read, "features": str(read["features"]), "discount": float(read["discount"])})
