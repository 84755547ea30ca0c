"""Presumed spend comes back through the ledger's own door, once, and never below what was billed."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline.ports.ledger import CallRow, Ledger, Settlement
from pipeline.reconcile.compare import compare
from pipeline.reconcile.ours import Asked, Offer, Ours, sent_at
from pipeline.reconcile.release import Plan, plan, settle
from pipeline.reconcile.usage import Billed, Export, days_between
from schemas.ids import AccountId, BatchIndex, Generation, JobId, Nano, TierName
from schemas.money import Usage, price_of
from tests.contract.ledger.desk import Desk, ended

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
PRICE = price_of(input=Decimal("1000"), output=Decimal("1000"))  # $0.001 a token
TOLD = Usage(input=100, output=10)  # of the settled call
FIRST = Generation(1)


@pytest.fixture
def clock() -> list[int]:
    return [int(NOW.timestamp() * 1000)]


async def closed(desk: Desk, parent: AccountId) -> dict[str, CallRow]:
    """One call settled at its true cost, four presumed: two by their holders, two at the close."""
    await desk.ledger.open_account(parent, Nano(10 * 10**9))
    desk.account = AccountId(f"{desk.account}/child")
    desk.job, desk.now = JobId(f"{desk.job}-closed"), int(NOW.timestamp() * 1000)
    await desk.open(parent=parent)
    lease = await desk.lease()
    calls = [await desk.held(lease, usd, call=f"{desk.job}-{name}") for name, usd in HOLDS.items()]
    await desk.ledger.settle(
        Settlement(call_id=calls[0].call_id, outcome="ok", cost=PRICE.cost(TOLD), body=b"{}", usage=TOLD)
    )
    for held in calls[1:3]:
        cut = Settlement(
            call_id=held.call_id,
            outcome="presumed",
            cost=Nano(0),
            presumed=True,
            sent_at=desk.now,
            error="cut",
        )
        await desk.ledger.settle(cut)
    for batch in range(3):
        await desk.ledger.commit_batch(desk.job, FIRST, BatchIndex(batch))
    await desk.ledger.presume(desk.job, FIRST)
    await desk.ledger.close_generation(desk.job, FIRST, desk.now)
    return await desk.rows()


HOLDS = {"settled": 0.2, "dear": 0.5, "small": 0.1, "middle": 0.3, "least": 0.05}


def plans(desk: Desk, rows: dict[str, CallRow], tokens: int) -> list[Plan]:
    """As reconcile plans them from an export that has that many input tokens beyond those of the settled call."""
    day = NOW.date()
    days = frozenset(days_between(day, day + timedelta(days=1)))
    known = [row for row in rows.values() if not row.presumed]
    settled = [
        Asked(
            job=desk.job, tier=row.tier, model=row.model, day=day, usage=row.usage,
            requests=int(row.outcome != "unreachable"), cost=row.cost,
        )
        for row in known
    ]  # fmt: skip
    counts = {"input": TOLD.input + tokens, "output": TOLD.output}
    us = Ours(
        asked=tuple(settled),
        presumed=tuple(row for row in rows.values() if row.presumed),
        offers={(desk.job, TierName("small")): Offer(model="small-2026", price=PRICE, expected=True)},
    )
    them = Export(form="openai", billed=(Billed(model="small-2026", day=day, tokens=counts),), days=days)
    return plan(compare(us, them, {}, (day, day), NOW + timedelta(days=3)), us)


@pytest.fixture
def parent(name: str) -> AccountId:
    return AccountId(f"team-{name}")


async def test_a_call_that_nobody_came_back_from_has_the_day_it_was_held(
    desk: Desk, parent: AccountId
) -> None:
    rows = await closed(desk, parent)
    left = rows[f"{desk.job}-middle"]
    assert (left.presumed, left.sent_at) == (True, 0)
    assert sent_at(left) == NOW


@pytest.mark.parametrize(
    ("tokens", "charges"), [(0, {}), (30, {"dear": 0.03}), (650, {"dear": 0.5, "middle": 0.15})]
)
async def test_what_was_not_billed_comes_back_in_the_whole_chain(
    desk: Desk, parent: AccountId, tokens: int, charges: dict[str, float]
) -> None:
    rows = await closed(desk, parent)
    assert await desk.money() == (0.11 + 0.95, 0, 0.95)
    # When an export with so many tokens beyond the settled call's is reconciled
    await settle(desk.ledger, plans(desk, rows, tokens))
    # Then the account and its parent stand at what was billed
    spent = (110 + tokens) / 1000
    assert await desk.money() == (spent, 0, 0)
    assert await desk.money(parent) == (spent, 0, 0)
    # And the journal says of each call what it was billed, and that the rest was not
    rows = await desk.rows()
    for name in list(HOLDS)[1:]:
        row = rows[f"{desk.job}-{name}"]
        assert (row.presumed, row.cost) == (False, round(charges.get(name, 0) * 10**9))
        assert row.outcome == ("lost" if name in charges else "unreachable")
        assert sent_at(row).date() == NOW.date()
    assert sum(row.usage.input for row in rows.values()) == TOLD.input + tokens


async def test_twice_changes_nothing(desk: Desk, parent: AccountId) -> None:
    rows = await closed(desk, parent)
    planned = plans(desk, rows, 650)
    await settle(desk.ledger, planned)
    before, told = await desk.money(), await desk.rows()
    # When the same plan is carried out again, and one is made anew from what the ledger says now
    await settle(desk.ledger, planned)
    assert plans(desk, await desk.rows(), 650) == []
    # Then nothing has changed
    assert (await desk.money(), await desk.rows()) == (before, told)


class Dying:
    """A ledger whose process dies after so many settlements."""

    def __init__(self, ledger: Ledger, after: int) -> None:
        self._ledger, self._left, self._turn = ledger, after, asyncio.Lock()

    async def settle(self, settlement: Settlement) -> bool:
        async with self._turn:
            if not self._left:
                raise ConnectionAbortedError
            self._left -= 1
            return await self._ledger.settle(settlement)


@pytest.mark.parametrize("after", range(4))
async def test_interrupted_half_way_it_goes_on(desk: Desk, parent: AccountId, after: int) -> None:
    rows = await closed(desk, parent)
    dying: Any = Dying(desk.ledger, after)
    with pytest.raises(ConnectionAbortedError):
        await settle(dying, plans(desk, rows, 650))
    # Then not less is charged than was billed
    spent, _, _ = await desk.money()
    assert spent >= 0.76
    # And the next run ends where one that was not killed would have
    await settle(desk.ledger, plans(desk, await desk.rows(), 650))
    assert await desk.money() == (0.76, 0, 0)


async def test_a_reply_that_comes_after_the_release_moves_no_money(desk: Desk, parent: AccountId) -> None:
    rows = await closed(desk, parent)
    await settle(desk.ledger, plans(desk, rows, 0))
    before = await desk.money()
    await desk.ledger.settle(ended(rows[f"{desk.job}-dear"].call_id, 0.4))
    assert await desk.money() == before
