import numpy as np

from pipeline.replay.splits import clusters_of, fitted_elsewhere, fold_splits
from tests.unit.router.rows import confident


def test_texts_that_differ_in_nothing_but_form_share_a_cluster() -> None:
    found = clusters_of(["Is this it?", "is THIS  it", "is that it?"])
    assert found[0] == found[1] != found[2]
    assert np.array_equal(found, [0, 0, 1])


def test_no_cluster_is_on_both_sides_and_each_row_is_judged_once() -> None:
    clusters = np.arange(100) // 3
    splits = list(fold_splits(confident(100), clusters, audit=20, seed=1))
    assert sorted(np.concatenate([split.rows for split in splits])) == list(range(100))
    for split in splits:
        judged = set(clusters[split.rows])
        assert not judged & (set(clusters) - judged)
        assert len(split.fitting) + len(split.rows) == 100
    assert abs(sum(len(split.audited) for split in splits) - 20) <= 2


def test_an_audit_is_drawn_from_what_is_judged() -> None:
    [split] = fitted_elsewhere(confident(50), 200, audit=30, seed=0)
    assert len(set(split.audited)) == 30
    assert split.audited.max() < 200
