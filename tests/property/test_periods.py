"""Whatever jobs spend and whenever periods are opened, all of them together never spend more than their caps allow."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Held
from schemas.ids import AccountId, BatchIndex, Generation, JobId, Nano
from tests.contract.ledger.desk import Desk, ended, nano

BASE = 10
# per day: dollars each of its jobs would hold, settle or leave presumed, and whether it is closed by the next day
DAYS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["settle", "presume", "hold"]), st.booleans()),
        max_size=3,
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=25, deadline=None)
@given(days=DAYS, most=st.integers(0, 15), openers=st.integers(1, 3))
def test_no_period_and_no_run_of_periods_spends_more_than_it_may(
    kind: str, days: list[list[tuple[int, str, bool]]], most: int, openers: int
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(
            _play(f"sqlite:///{Path(folder)}/l.db" if kind == "sqlite" else "memory://", days, most, openers)
        )


async def _play(url: str, days: list[list[tuple[int, str, bool]]], most: int, openers: int) -> None:
    ledger = open_ledger(url, lambda: 1_000_000)
    periods: list[AccountId] = []
    for number, jobs in enumerate(days):
        day = AccountId(f"g/day:2026-11-{number + 1:02d}")
        await asyncio.gather(*(ledger.open_period(day, nano(BASE), nano(most)) for _ in range(openers)))
        periods.append(day)
        for index, (usd, how, closed) in enumerate(jobs):
            name = f"{number}-{index}"
            desk = Desk(ledger, JobId(name), AccountId(f"job/{name}"))
            await ledger.open_account(desk.account, nano(usd), day)
            await ledger.create_job(desk.job, name="n", account=desk.account, batches=1, now=desk.now)
            held = await asyncio.wait_for(_try(desk, usd), 5)
            if held is not None and how != "hold":
                await ledger.settle(
                    ended(held, usd, "timeout" if how == "presume" else "ok", presumed=how == "presume")
                )
            if closed:
                await ledger.commit_batch(desk.job, Generation(1), BatchIndex(0))
                await ledger.close_generation(desk.job, Generation(1), desk.now)
        rows = [await ledger.account(each) for each in periods]
        found = [row for row in rows if row is not None]
        # each within its cap, no cap below nothing, and none made of nothing
        assert all(0 <= row.spent + row.held <= row.cap for row in found)
        assert all(row.cap <= nano(BASE + most) for row in found)
        assert sum(row.cap for row in found) == nano(BASE) * len(found)
    await ledger.close()


async def _try(desk: Desk, usd: float) -> Held | None:
    """None where there is no money; what would wait for others' is not waited for."""
    lease = await desk.lease()
    account = await desk.ledger.account(desk.account)
    assert account is not None
    chain = [account, *[await desk.ledger.account(each) for each in account.parents]]
    if any(each is None or each.spent + each.held + Nano(nano(usd)) > each.cap for each in chain):
        return None
    answer = await desk.ledger.hold(desk.intent(lease, usd))
    return answer if isinstance(answer, Held) else None
