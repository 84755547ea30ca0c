"""Accounts of periods in every ledger: a hold fits in all of them, and what one hands on it has no more."""

import asyncio

import pytest

from pipeline.ports.ledger import Denied, Ledger
from schemas.ids import AccountId, BatchIndex, Generation, JobId, Nano
from tests.contract.ledger.desk import USD, Desk, ended, nano


async def cap(ledger: Ledger, account: str) -> float:
    row = await ledger.account(AccountId(account))
    assert row is not None
    return row.cap / USD


async def job_under(ledger: Ledger, name: str, usd: float, *parents: str) -> Desk:
    desk = Desk(ledger, JobId(name), AccountId(f"job/{name}"))
    await ledger.open_account(desk.account, nano(usd), *map(AccountId, parents))
    await ledger.create_job(desk.job, name="nightly", account=desk.account, batches=1, now=desk.now)
    return desk


async def spend(desk: Desk, usd: float) -> None:
    """In a job that is closed then."""
    lease = await desk.lease()
    await desk.ledger.settle(ended(await desk.held(lease, usd), usd))
    await close(desk)


async def close(desk: Desk) -> None:
    await desk.ledger.commit_batch(desk.job, Generation(1), BatchIndex(0))
    await desk.ledger.close_generation(desk.job, Generation(1), desk.now)


async def test_a_hold_must_fit_in_every_parent(ledger: Ledger, name: str) -> None:
    # Given a day in a week that lies in another month
    day, week, month = f"{name}/day:2", f"{name}/week:1", f"{name}/month:1"
    for account, usd in ((day, 3.0), (week, 2.0), (month, 9.0)):
        await ledger.open_account(AccountId(account), nano(usd))
    desk = await job_under(ledger, name, 5.0, day, week, month)
    lease = await desk.lease()
    await ledger.settle(ended(await desk.held(lease, 1.5), 1.5))
    # Then all have paid, and the tightest says no
    assert [await desk.money(each) for each in (day, week, month)] == [(1.5, 0, 0)] * 3
    denied = await ledger.hold(desk.intent(lease, 1.0))
    assert isinstance(denied, Denied)
    assert week in denied.detail
    row = await ledger.account(desk.account)
    assert row is not None
    assert row.parents == (day, week, month)


async def test_what_a_period_has_left_moves_to_the_next(ledger: Ledger, name: str) -> None:
    first, second, third = (AccountId(f"{name}/day:2026-11-0{day}") for day in (1, 2, 4))
    await ledger.open_period(first, nano(5.0), nano(5.0))
    assert await cap(ledger, first) == 5.0
    await spend(await job_under(ledger, f"{name}-1", 5.0, first), 2.0)
    # When the next one is opened, by many at once, then it is moved once
    await asyncio.gather(*(ledger.open_period(second, nano(5.0), nano(5.0)) for _ in range(6)))
    assert (await cap(ledger, first), await cap(ledger, second)) == (2.0, 8.0)
    # When a day passes without a job, then the one after it gets no more than may be carried
    await ledger.open_period(third, nano(5.0), nano(6.0))
    assert (await cap(ledger, second), await cap(ledger, third)) == (2.0, 11.0)
    # And what was opened keeps its cap
    await ledger.open_period(second, nano(50.0), nano(50.0))
    assert await cap(ledger, second) == 2.0


@pytest.mark.parametrize("closed", [False, True])
async def test_a_job_that_runs_on_keeps_what_it_may_spend(ledger: Ledger, name: str, closed: bool) -> None:
    # Given a job of $3 that has spent one when the next day begins
    first, second = (AccountId(f"{name}/day:2026-11-0{day}") for day in (1, 2))
    await ledger.open_period(first, nano(5.0), Nano(0))
    desk = await job_under(ledger, name, 3.0, first)
    await ledger.settle(ended(await desk.held(await desk.lease(), 1.0), 1.0))
    if closed:
        await close(desk)
    await ledger.open_period(second, nano(5.0), nano(5.0))
    # Then the day hands on what the job can not spend any more
    assert await cap(ledger, second) == (9.0 if closed else 7.0)
    assert await cap(ledger, first) + await cap(ledger, second) == 10.0


async def test_another_family_hands_on_nothing(ledger: Ledger, name: str) -> None:
    for other in (f"{name}/day/1:2025", f"{name}/month:2026-10", f"{name}/days:2026-10-01"):
        await ledger.open_account(AccountId(other), nano(9.0))
    day = AccountId(f"{name}/day:2026-11-02")
    await ledger.open_period(day, nano(5.0), nano(5.0))
    assert await cap(ledger, day) == 5.0
