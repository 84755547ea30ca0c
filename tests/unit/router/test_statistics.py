"""Sums of graded calls: adding is learning, in whatever order."""

from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.router import snapshot, statistics
from pipeline.router.snapshot import Snapshot
from pipeline.router.statistics import (
    SAMPLE,
    SPENT,
    Graded,
    Statistics,
    added,
    discounted,
    empty,
    merged,
    with_tier,
)
from schemas.ids import TierName

TRUST = {TierName("a"): 0.6, TierName("b"): 0.9}
NOTHING = empty(TRUST, ("", "x"), "f", 4, discount=0.5)


def graded(seed: int, queries: int = 200, calls: int = 300) -> Graded:
    random = np.random.default_rng(seed)
    features = random.random((queries, 4), dtype=np.float32)
    features[:, 0] = 1
    return Graded(
        features=features,
        category=random.integers(0, 2, queries),
        key=random.integers(0, 2**62, queries).astype(np.uint64),
        query=random.integers(0, queries, calls),
        tier=random.integers(0, 2, calls),
        left=random.random((calls, 2)) < 0.3,
        correct=random.random(calls).round(),
        weight=random.random(calls),
        confidence=random.random(calls),
        spent=random.random((calls, len(SPENT))),
    )


def assert_same(one: Statistics, other: Statistics) -> None:
    for field in fields(Statistics):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)
        else:
            assert left == right


def test_the_order_of_rewards_does_not_matter() -> None:
    # Given the rewards of three jobs
    parts = [graded(seed) for seed in range(3)]
    # When they are added in two orders, and apart
    forward = added(added(added(NOTHING, parts[0]), parts[1]), parts[2])
    backward = added(added(added(NOTHING, parts[2]), parts[1]), parts[0])
    apart = merged(added(NOTHING, parts[0]), added(added(NOTHING, parts[1]), parts[2]))
    # Then the sums are the same
    assert_same(forward, backward)
    assert_same(forward, apart)


def test_the_sums_are_those_of_least_squares() -> None:
    part = graded(1)
    stats = added(NOTHING, part)
    mine = part.tier == 1
    x = np.hstack([part.features[part.query[mine]], part.left[mine]]).astype(np.float64)
    weight = part.weight[mine]
    np.testing.assert_allclose(stats.gram[1], (x * weight[:, None]).T @ x, rtol=1e-5)
    np.testing.assert_allclose(stats.moment[1], x.T @ (weight * part.correct[mine]), rtol=1e-5)
    np.testing.assert_allclose(stats.spent[1], (x[:, :2] * weight[:, None]).T @ part.spent[mine], rtol=1e-5)
    np.testing.assert_allclose(stats.judged.sum(axis=(0, 1)), [part.weight.sum(), part.weight @ part.correct])


def test_a_category_counts_only_calls_that_came_first() -> None:
    part = graded(2)
    first = ~part.left.any(axis=1)
    in_x = part.category[part.query] == 1
    expected = part.weight[first & in_x & (part.tier == 0)].sum()
    assert added(NOTHING, part).suited[1, 0, 0] == pytest.approx(expected)


def test_an_update_discounts_what_was_known() -> None:
    known = added(NOTHING, graded(1))
    np.testing.assert_allclose(discounted(known).gram, known.gram / 2)
    assert discounted(known).trust.tolist() == [0.6, 0.9]


def test_the_sample_is_the_same_whatever_came_first_and_when() -> None:
    parts = [graded(seed, queries=SAMPLE) for seed in range(2)]
    one, other = added(added(NOTHING, parts[0]), parts[1]), added(added(NOTHING, parts[1]), parts[0])
    again = added(one, parts[0])
    assert len(one.sample) == SAMPLE
    assert one.sample.tolist() == other.sample.tolist() == again.sample.tolist()
    # and from both halves about alike
    assert 0.3 < np.isin(one.sample_key, parts[0].key).mean() < 0.7


def test_a_new_tier_leaves_what_is_known_of_the_others() -> None:
    known = added(NOTHING, graded(1))
    grown = with_tier(known, TierName("c"), 0.8)
    assert grown.tiers == ("a", "b", "c")
    np.testing.assert_array_equal(grown.gram[:2, :6, :6], known.gram)
    assert not grown.gram[2].any()
    assert with_tier(grown, TierName("c"), 0.1) is grown
    # and it learns from calls to three tiers
    calls = graded(3)
    wider = replace(calls, left=np.pad(calls.left, ((0, 0), (0, 1))), tier=calls.tier + 1)
    assert added(grown, wider).weight[2] > 0


def test_a_version_is_read_back_and_always_the_same_bytes() -> None:
    stats = added(NOTHING, graded(1))
    version = Snapshot(version="thompson@2", parents=("thompson@1",), rewards=("r1", "r2"), statistics=stats)
    data = snapshot.encode(version)
    back = snapshot.decode(data)
    assert (back.version, back.parents, back.rewards) == (version.version, version.parents, version.rewards)
    assert_same(back.statistics, stats)
    assert snapshot.encode(back) == data
    assert statistics.encode(added(NOTHING, graded(1))) == statistics.encode(stats)
