"""Why both sides differ."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.ids import Nano
from schemas.money import Usage, price_of
from tests.usage import DAY, LATER, NOON, PRICE, asked, billed, compared, export, kinds, ours, presumed

NEXT = DAY + timedelta(days=1)


def test_the_same_tokens_agree() -> None:
    found = compared(ours([asked(100, 5)]), export(billed(100, 5, requests=1)))
    assert kinds(found) == [[]]
    assert found.explained


def test_classes_that_the_export_does_not_split_are_added_up() -> None:
    usage = Usage(input=10, cached_input=20, cache_write=30, output=4, reasoning=5)
    assert kinds(compared(ours([asked(usage=usage)]), export(billed(tokens={"input": 60, "output": 9})))) == [
        []
    ]
    split = {"input": 40, "cached_input": 20, "output": 9}
    assert kinds(compared(ours([asked(usage=usage)]), export(billed(tokens=split)))) == [[]]


def test_tokens_of_a_side_in_another_class() -> None:
    usage = Usage(input=60, cached_input=40)
    (one,) = compared(ours([asked(usage=usage)]), export(billed(100))).compared
    assert [(each.kind, each.nano, each.explained) for each in one.differences] == [("class", 20_000, True)]


def test_presumed_calls_that_were_billed_and_that_were_not() -> None:
    calls = [presumed(1), presumed(2)]
    (one,) = compared(ours([asked(100, 5)], calls), export(billed(180, 10, requests=2))).compared
    (said,) = one.differences
    assert (said.kind, said.nano) == ("presumed", 80 * 1000 + 5 * 4000 - 2_000_000)
    (one,) = compared(ours([asked(100, 5)], calls), export(billed(100, 5, requests=1))).compared
    (said,) = one.differences
    assert (said.nano, "not billed" in said.why) == (-2_000_000, True)


def test_what_no_call_of_ours_can_have_cost_is_of_others() -> None:
    (one,) = compared(ours([asked(100, 5)], [presumed(1)]), export(billed(5100, 5, requests=9))).compared
    assert [(each.kind, each.nano) for each in one.differences] == [("presumed", 0), ("others", 4_000_000)]
    assert all(each.explained for each in one.differences)


def test_failed_calls_may_have_been_billed() -> None:
    failed = asked(100, 5, doubtful=3, doubtful_cost=Nano(600_000))
    (one,) = compared(ours([failed]), export(billed(500, 5, requests=4))).compared
    assert [(each.kind, each.nano) for each in one.differences] == [("failed", 400_000)]
    (one,) = compared(ours([failed]), export(billed(1100, 5, requests=4))).compared
    assert [(each.kind, each.nano) for each in one.differences] == [("failed", 600_000), ("others", 400_000)]


def test_more_tokens_in_no_more_requests_have_no_explanation() -> None:
    found = compared(ours([asked(100, 5)]), export(billed(120, 5, requests=1)))
    assert kinds(found) == [["counted"]]
    assert not found.explained


def test_fewer_tokens_than_replies_stated_have_none() -> None:
    found = compared(ours([asked(100, 5)]), export(billed(90, 5)))
    assert kinds(found) == [["short"]]
    assert not found.explained


def test_a_model_that_is_not_in_the_export_has_none() -> None:
    found = compared(ours([asked(100, 5)]), export(billed(3, 3, model="strange")))
    assert kinds(found) == [["missing"], ["others"]]
    assert not found.explained


def test_a_model_asked_elsewhere_is_not_missed() -> None:
    assert kinds(compared(ours([asked(100, 5)], expected=False), export())) == [["elsewhere"]]


@pytest.mark.parametrize(
    ("changes", "now"),
    [({"last": DAY}, LATER), ({}, datetime(2026, 11, 11, 23, tzinfo=UTC))],
    ids=["no-day-after", "too-early"],
)
def test_a_day_that_is_not_whole_is_left_open(changes: dict[str, Any], now: datetime) -> None:
    found = compared(ours([asked(100, 5)]), export(billed(90, 5), **changes), now)
    assert kinds(found) == [["open"]]
    assert found.explained
    found = compared(ours([asked(100, 5)], [presumed(1)]), export(billed(100, 5), **changes), now)
    assert "compare again" in found.compared[0].differences[0].why


def test_days_outside_the_export_are_not_compared() -> None:
    found = compared(ours([asked(100, 5, requests=7, day=DAY - timedelta(days=3))]), export())
    assert (found.compared, found.outside) == ((), 7)


def test_calls_near_midnight_join_their_days() -> None:
    # Given a call just before midnight that is billed on the day after
    us = [asked(100, 5, late=True), asked(50, 5, day=NEXT)]
    them = [billed(80, 4), billed(70, 6, day=NEXT)]
    # Then the two days are compared as one
    found = compared(ours(us), export(*them, last=NEXT + timedelta(days=1)))
    assert kinds(found) == [["edge"]]
    assert found.compared[0].span.days == (DAY, NEXT)
    # And without it each day stands for itself
    us = [asked(100, 5), asked(50, 5, day=NEXT)]
    found = compared(ours(us), export(*them, last=NEXT + timedelta(days=1)))
    assert kinds(found) == [["short"], ["others"]]


def test_presumed_calls_are_told_apart_from_what_midnight_moved() -> None:
    us = ours([asked(100, 5, late=True), asked(50, 5, day=NEXT)], [presumed(1)])
    them = [billed(90, 4, requests=1), billed(80, 6, day=NEXT, requests=2)]
    found = compared(us, export(*them, last=NEXT + timedelta(days=1)))
    assert kinds(found) == [["presumed", "edge"]]
    assert found.compared[0].differences[0].nano == 20_000 - 1_000_000


def test_a_call_just_after_midnight_joins_the_day_before() -> None:
    us = [asked(100, 5, early=True)]
    them = [billed(60, 3, day=DAY - timedelta(days=1)), billed(40, 2)]
    found = compared(ours(us), export(*them, first=DAY - timedelta(days=1)))
    assert kinds(found) == [["edge"]]


def test_a_presumed_call_near_midnight_joins_the_day_after() -> None:
    call = presumed(1, at=NOON.replace(hour=23, minute=55))
    found = compared(ours([asked(100, 5)], [call]), export(billed(100, 5), last=NEXT))
    assert found.compared[0].span.days == (DAY, NEXT)
    assert not found.compared[0].span.whole  # the export does not reach a day further


def test_another_price_is_named_and_rounding_too() -> None:
    them = billed(100, 5, cost=Decimal("0.000240"))  # ours: 120,000 nano
    (one,) = compared(ours([asked(100, 5)]), export(them)).compared
    assert [(each.kind, each.nano) for each in one.differences] == [("price", 120_000)]
    assert "2.000 times" in one.differences[0].why
    rounded = asked(100, 5, cost=Nano(120_001))
    (one,) = compared(ours([rounded]), export(billed(100, 5, cost=Decimal("0.000120")))).compared
    assert [(each.kind, each.nano) for each in one.differences] == [("rounding", -1)]


def test_two_prices_of_a_model_leave_room_between_them() -> None:
    us = ours([asked(100, 5)], prices=(PRICE, price_of(input=Decimal("2"), output=Decimal("8"))))
    assert kinds(compared(us, export(billed(100, 5, cost=Decimal("0.000200"))))) == [[]]


def test_names_differ_by_date_or_as_told() -> None:
    them = export(billed(100, 5, model="m-2026-01-01"))
    assert kinds(compared(ours([asked(100, 5)]), them)) == [[]]
    them = export(billed(100, 5, model="quite-other"))
    assert kinds(compared(ours([asked(100, 5)]), them, m="quite-other")) == [[]]
