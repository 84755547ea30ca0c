"""Which presumed calls are released, and why others are kept."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from pipeline.reconcile.ours import Ours
from pipeline.reconcile.release import Plan, plan
from pipeline.reconcile.usage import Export
from schemas.money import Usage, price_of
from tests.usage import DAY, LATER, NOON, asked, billed, compared, export, ours, presumed

MILLION = 1_000_000


def planned(us: Ours, them: Export, now: datetime = LATER) -> Plan:
    (found,) = plan(compared(us, them, now), us)
    return found


def test_nothing_billed_for_them_all_comes_back() -> None:
    found = planned(ours([asked(100, 5)], [presumed(1), presumed(2)]), export(billed(100, 5, requests=1)))
    assert (found.kept, found.released) == ("", 2 * MILLION)
    assert [(share.billed, share.cost) for share in found.shares] == [(False, 0), (False, 0)]


def test_what_is_billed_stays_on_the_dearest() -> None:
    us = ours([asked(100, 5)], [presumed(1, 300_000), presumed(2, 900_000), presumed(3, 800_000)])
    found = planned(us, export(billed(1100, 5, requests=3)))  # 1000 tokens, 1,000,000 nano, in two requests
    assert [(share.call.call_id, share.billed, share.cost, share.usage) for share in found.shares] == [
        ("c2", True, 900_000, Usage(input=900)),
        ("c3", True, 100_000, Usage(input=100)),
        ("c1", False, 0, Usage()),
    ]
    assert found.released == 1_000_000


def test_requests_say_how_many_were_billed_at_least() -> None:
    us = ours([asked(100, 5)], [presumed(1), presumed(2), presumed(3)])
    found = planned(us, export(billed(110, 5, requests=3)))
    assert [share.billed for share in found.shares] == [True, True, False]


def test_a_price_for_each_request_is_kept_for_all_where_they_are_not_counted() -> None:
    price = price_of(input=Decimal("1"), output=Decimal("4"), request=Decimal("0.0001"))
    us = ours([asked(100, 5)], [presumed(1), presumed(2)], prices=(price,))
    found = planned(us, export(billed(110, 5)))
    assert [share.cost for share in found.shares] == [110_000, 100_000]


def test_classes_counted_as_one_are_charged_at_the_dearest() -> None:
    price = price_of(
        input=Decimal("1"), cache_write=Decimal("2"), output=Decimal("4"), reasoning=Decimal("8")
    )
    us = ours([asked(100, 5)], [presumed(1)], prices=(price,))
    found = planned(us, export(billed(tokens={"input": 110, "output": 6})))
    assert [share.cost for share in found.shares] == [10 * 2000 + 8000]


def test_each_part_is_rounded_up() -> None:
    price = price_of(input=Decimal("0.0333"), output=Decimal("4"))
    us = ours([asked(100, 5, price=price)], [presumed(1)], prices=(price,))
    assert planned(us, export(billed(101, 5))).shares[0].cost == 34


@pytest.mark.parametrize(
    ("them", "now", "why"),
    [
        (export(billed(100, 5), last=DAY), LATER, "reaches a day further"),
        (export(billed(100, 5)), datetime(2026, 11, 11, 23, tzinfo=UTC), "a day after"),
        (export(billed(100, 5, day=DAY + timedelta(days=1)), first=DAY + timedelta(days=1)), LATER, ""),
        (export(billed(99, 5)), LATER, "not all that settled calls used"),
        (export(billed(100, 4)), LATER, "not all that settled calls used"),
        (export(), LATER, "not all that settled calls used"),
        (export(billed(1101, 5)), LATER, "more than the $0.001000 they can cost: any of it may be theirs"),
    ],
    ids=["no-day-after", "too-early", "outside", "input-missing", "output-missing", "all-missing", "others"],
)
def test_kept(them: Export, now: datetime, why: str) -> None:
    us = ours([asked(100, 5)], [presumed(1)])
    found = plan(compared(us, them, now), us)
    assert [each.kept.endswith(why) or why in each.kept for each in found] == [True] * bool(why)
    assert sum(each.released for each in found) == 0


def test_a_model_that_the_export_never_shows_is_kept() -> None:
    # Given a day with presumed calls alone, in an export with nothing that is known to be ours
    us = ours([], [presumed(1)])
    assert "another project or key" in planned(us, export()).kept
    # And with settled calls of the model on another day, all there
    us = ours([asked(100, 5, day=DAY - timedelta(days=2))], [presumed(1)])
    them = export(billed(100, 5, day=DAY - timedelta(days=2)), first=DAY - timedelta(days=2))
    assert planned(us, them).released == MILLION


def test_a_call_near_midnight_needs_both_days() -> None:
    us = ours([asked(100, 5)], [presumed(1, at=NOON.replace(hour=23, minute=58))])
    them = [billed(100, 5, requests=1), billed(30, day=DAY + timedelta(days=1), requests=1)]
    assert planned(us, export(*them)).kept
    found = planned(us, export(*them, last=DAY + timedelta(days=2)))
    assert [(share.billed, share.cost) for share in found.shares] == [(True, 30_000)]
