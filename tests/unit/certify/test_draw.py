import random
from collections import Counter

import pytest

from pipeline.certify.draw import Draw
from schemas.ids import QueryId

IDS = [QueryId(f"query-{number}") for number in range(200)]


def drawn(ids: list[QueryId], key: bytes = b"key", pilot: int = 10, audit: int = 30) -> Draw[str]:
    draw: Draw[str] = Draw(key, pilot, audit)
    for query_id in ids:
        draw.offer(query_id, f"row of {query_id}")
    return draw


def test_the_order_of_the_stream_does_not_matter() -> None:
    shuffled = IDS.copy()
    random.Random(3).shuffle(shuffled)
    assert drawn(shuffled).audit == drawn(IDS).audit
    assert drawn(shuffled).pilot == drawn(IDS).pilot


def test_pilot_and_audit_share_no_row_and_have_the_size_asked_for() -> None:
    draw = drawn(IDS)
    assert (len(draw.pilot), len(draw.audit)) == (10, 30)
    assert len({*draw.pilot, *draw.audit}) == 40


def test_another_key_draws_other_rows() -> None:
    assert drawn(IDS, b"one").audit != drawn(IDS, b"two").audit


def test_a_row_that_passes_twice_counts_once() -> None:
    twice = drawn([*IDS, *reversed(IDS)])
    assert (twice.pilot, twice.audit) == (drawn(IDS).pilot, drawn(IDS).audit)


def test_each_row_is_as_likely_as_any_other() -> None:
    keys = 4000
    audited: Counter[str] = Counter()
    pilots: Counter[str] = Counter()
    ids = IDS[:40]
    for number in range(keys):
        draw = drawn(ids, number.to_bytes(4), pilot=5, audit=15)
        audited.update(draw.audit)
        pilots.update(draw.pilot)
    for counts, share in ((audited, 15 / 40), (pilots, 5 / 40)):
        expected = keys * share
        distance = sum((counts[f"row of {each}"] - expected) ** 2 for each in ids) / (expected * (1 - share))
        assert distance < 75  # chi-squared of 39 degrees of freedom: exceeded once in two thousand


def test_a_first_part_of_the_audit_is_the_smaller_audit() -> None:
    assert drawn(IDS, audit=12).audit == drawn(IDS, audit=30).audit[:12]


def test_of_a_short_stream_both_get_their_share() -> None:
    draw = drawn(IDS[:20])
    assert (len(draw.pilot), len(draw.audit)) == (5, 15)
    assert {*draw.pilot, *draw.audit} == {f"row of {query_id}" for query_id in IDS[:20]}


@pytest.mark.parametrize(("pilot", "audit"), [(1, 600), (600, 1), (200, 600)])
def test_of_a_few_rows_neither_goes_without(pilot: int, audit: int) -> None:
    for count in (2, 3, 40):
        draw = drawn(IDS[:count], pilot=pilot, audit=audit)
        assert min(len(draw.pilot), len(draw.audit)) >= 1
        assert len(draw.pilot) + len(draw.audit) == count
    assert len(drawn(IDS[:1], pilot=pilot, audit=audit).audit) == 1
    assert drawn(IDS[:5], pilot=5, audit=0).audit == drawn(IDS[:5], pilot=0, audit=5).pilot == []


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn([]).audit == []
    assert drawn(IDS, pilot=0, audit=0).audit == []


@pytest.mark.parametrize(
    ("key", "pilot", "audit"), [(b"", 1, 1), (b"k" * 65, 1, 1), (b"k", -1, 1), (b"k", 1, -1)]
)
def test_a_bad_draw_is_refused(key: bytes, pilot: int, audit: int) -> None:
    with pytest.raises(ValueError, match="a draw needs"):
        Draw(key, pilot, audit)


def test_it_keeps_no_more_than_it_draws() -> None:
    draw = drawn(IDS, pilot=1, audit=2)
    assert len(draw._rows) == len(draw._heap) == 3
