"""What is left, divided among the batches of a job."""

import asyncio

import pytest

from pipeline.ports.ledger import Ledger, Share, Want
from schemas.ids import AccountId, Nano
from schemas.records import Lease
from tests.contract.ledger.desk import TTL, USD, Desk, ended, hash_of, nano


async def ask(
    desk: Desk, lease: Lease, queries: int = 10, *, most: float = 100.0, least: float = 0.0, hold: float = 0.0,
    again: bool = False, rows: int = 10,
) -> Share:  # fmt: skip
    want = Want(
        lease=lease, account=desk.account, queries=queries, most=nano(most), least=nano(least),
        hold=nano(hold), rows=rows, again=again,
    )  # fmt: skip
    share = await desk.ledger.divide(want, desk.now)
    assert share is not None
    return share


async def test_batches_that_have_not_asked_count_whole(desk: Desk) -> None:
    # Given $5 and three batches of ten; then each gets a third of it, whoever comes first
    first = await ask(desk, await desk.lease(0))
    second = await ask(desk, await desk.lease(1))
    third = await ask(desk, await desk.lease(2))
    assert [round(share.amount / USD, 3) for share in (first, second, third)] == [1.667, 1.667, 1.667]
    assert first.free == 5 * USD


async def test_nobody_gets_more_than_it_can_use(desk: Desk) -> None:
    assert (await ask(desk, await desk.lease(0), most=0.4)).amount == nano(0.4)
    assert (await ask(desk, await desk.lease(1))).amount == nano(2.3)


async def test_what_is_spent_is_gone_and_what_is_held_is_not(desk: Desk) -> None:
    lease = await desk.lease(0)
    await desk.ledger.settle(ended(await desk.held(lease, 1.0), 0.8))
    await desk.held(lease, 3.0)
    share = await ask(desk, lease, rows=0)
    assert (share.amount, share.free) == (nano(4.2), nano(4.2))


async def test_the_tightest_account_of_the_chain_counts(desk: Desk, name: str) -> None:
    team = AccountId(f"team-{name}")
    await desk.ledger.open_account(team, nano(2.0))
    other = Desk(desk.ledger, desk.job, AccountId(f"under-{name}"))
    await desk.ledger.open_account(other.account, nano(5.0), team)
    share = await ask(other, await desk.lease(0), rows=0)
    assert (share.amount, share.free) == (nano(2.0), nano(2.0))


async def test_who_asks_again_waits_for_those_who_never_asked(desk: Desk) -> None:
    leases = [await desk.lease(batch) for batch in range(3)]
    await ask(desk, leases[0])
    await ask(desk, leases[1])
    # While a batch is still to come, there is nothing more, and no reason to wait
    assert await ask(desk, leases[0], again=True) == Share(
        amount=Nano(0), later=False, free=nano(5.0), tightest=desk.account
    )
    # Once all have had their part, what was given back is divided again
    await ask(desk, leases[2], most=0.5)
    share = await ask(desk, leases[1], again=True, most=9.0)
    assert share.amount == nano(5.0) - nano(0.5)


async def test_while_others_may_give_something_back_nobody_is_sent_away(desk: Desk) -> None:
    # Given all money set aside for three batches
    leases = [await desk.lease(batch) for batch in range(3)]
    for lease in leases:
        await ask(desk, lease)
    await desk.ledger.settle(ended(await desk.held(leases[0], 1.6), 1.6))
    # When the first has used its part up, then it waits
    share = await ask(desk, leases[0], 4, again=True, least=0.2)
    assert (share.amount, share.later) == (0, True)
    # When another gives back what it has, then there is something
    await ask(desk, leases[1], 0, again=True)
    assert (await ask(desk, leases[0], 4, again=True, least=0.2)).amount > 0


async def test_no_share_helps_where_the_smallest_hold_does_not_fit(desk: Desk) -> None:
    leases = [await desk.lease(batch) for batch in range(3)]
    for lease in leases:
        await ask(desk, lease)
    assert await ask(desk, leases[0], again=True, least=0.1, hold=6.0) == Share(
        amount=Nano(0), later=False, free=nano(5.0), tightest=desk.account
    )


async def test_the_last_to_decide_sees_all_that_is_left(desk: Desk) -> None:
    # Given three batches that ask again, at once and over and over, for more than a third each
    leases = [await desk.lease(batch) for batch in range(3)]
    await desk.ledger.settle(ended(await desk.held(leases[0], 4.0), 4.0))
    for lease in leases:
        await ask(desk, lease, most=0.0)
    shares = await asyncio.gather(*(ask(desk, lease, 10, again=True, least=0.4) for lease in leases))
    # Then two are sent away, or wait for the one that got what it could use
    assert sorted(share.amount for share in shares)[:2] == [0, 0]
    assert max(share.amount for share in shares) >= nano(0.4)


async def test_a_lost_lease_gets_nothing_and_its_part_is_free_again(desk: Desk, ledger: Ledger) -> None:
    lost = await desk.lease(0)
    assert (await ask(desk, lost, rows=0)).amount == nano(5.0)
    # When the lease runs out, its part is no longer set aside, and the batch counts as still to come
    desk.now += TTL
    assert round((await ask(desk, await desk.lease(1))).amount / USD, 3) == 1.667
    # And when somebody else has the batch, the former holder is told
    await desk.lease(0, owner="worker-2")
    assert (
        await ledger.divide(Want(lease=lost, account=desk.account, queries=1, most=Nano(1)), desk.now) is None
    )


async def test_a_committed_batch_counts_no_more(desk: Desk) -> None:
    lease = await desk.lease(0)
    await ask(desk, lease)
    await desk.ledger.commit_batch(desk.job, lease.generation, lease.batch)
    assert (await ask(desk, await desk.lease(1))).amount == nano(2.5)


async def test_a_stopped_job_lets_everyone_go_on_to_be_told_why(desk: Desk) -> None:
    lease = await desk.lease(0)
    await desk.ledger.stop_job(desk.job, "cancelled")
    share = await ask(desk, lease, most=50.0, least=50.0, hold=50.0, again=True)
    assert (share.amount, share.later) == (nano(50.0), False)


async def test_a_request_is_answered_once_its_reply_is_journalled(desk: Desk) -> None:
    lease = await desk.lease(0)
    for request, outcome in (("good", "ok"), ("cut", "presumed"), ("refused", "refused"), ("no", "rejected")):
        await desk.ledger.settle(ended(await desk.held(lease, request=request), 0.1, outcome))  # type: ignore[arg-type]
    await desk.held(lease, request="in flight")
    await desk.held(lease, request="sample", sample=1)
    asked = [hash_of(name) for name in ("good", "cut", "refused", "no", "in flight", "sample", "never")]
    many = [hash_of(f"filler {number}") for number in range(1200)]
    assert await desk.ledger.answered(desk.job, [*many, *asked]) == {hash_of("good"), hash_of("refused")}
    assert await desk.ledger.answered(desk.job, []) == set()


@pytest.mark.parametrize("held", [0.0, 4.0])
async def test_dividing_moves_no_money(desk: Desk, held: float) -> None:
    lease = await desk.lease(0)
    if held:
        await desk.held(lease, held)
    await ask(desk, lease)
    assert await desk.money() == (0.0, held, 0.0)
