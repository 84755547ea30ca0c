"""Batches, fences, pins, attempts, generations, cancel, and named leases."""

import asyncio

from pipeline.ports.ledger import Denied, Held, Ledger
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Lease, Pin
from tests.contract.ledger.desk import PIN, TTL, Desk, ended

FIRST = Generation(1)


async def try_lease(desk: Desk, batch: int = 0, generation: int = 1, owner: str = "other") -> object:
    return await desk.ledger.lease_batch(
        desk.job, Generation(generation), BatchIndex(batch), owner=owner, pin=PIN, now=desk.now, ttl_ms=TTL
    )


async def test_one_holder_at_a_time_and_a_growing_fence(desk: Desk) -> None:
    first = await desk.lease()
    assert await try_lease(desk) == "leased"
    desk.now += TTL
    second = await try_lease(desk)
    assert isinstance(second, Lease)
    assert (first.fence, second.fence) == (1, 2)
    # the first has lost it, the second has not
    assert await desk.ledger.renew(first, desk.now, TTL) is None
    row = await desk.ledger.renew(second, desk.now, TTL)
    assert row is not None
    assert row.job == desk.job


async def test_renewing_keeps_others_out(desk: Desk) -> None:
    lease = await desk.lease()
    desk.now += TTL - 1
    assert await desk.ledger.renew(lease, desk.now, TTL) is not None
    desk.now += TTL - 1
    assert await try_lease(desk) == "leased"


async def test_a_race_for_one_batch_has_one_winner(desk: Desk) -> None:
    answers = await asyncio.gather(*[try_lease(desk, owner=f"worker-{number}") for number in range(10)])
    assert sum(isinstance(answer, Lease) for answer in answers) == 1
    assert answers.count("leased") == 9


async def test_the_first_pin_is_kept(desk: Desk) -> None:
    first = await desk.lease()
    desk.now += TTL
    other = Pin(policy_version="bandit@9", price_of_money=0.1, seed=1)
    second = await desk.ledger.lease_batch(
        desk.job, FIRST, BatchIndex(0), owner="w2", pin=other, now=desk.now, ttl_ms=TTL
    )
    assert isinstance(second, Lease)
    assert first.pin == second.pin == PIN


async def test_attempts_count_leases_without_progress(desk: Desk) -> None:
    # Given a holder that dies, twice
    attempts = []
    for _ in range(3):
        lease = await desk.lease()
        attempts.append(lease.attempts)
        desk.now += TTL
    assert attempts == [1, 2, 3]
    # When one journals a reply before it dies, then the count starts again
    lease = await desk.lease()
    await desk.ledger.settle(ended(await desk.held(lease)))
    desk.now += TTL
    assert (await desk.lease()).attempts == 1
    # a hold alone is no progress
    desk.now += TTL
    lease = await desk.lease()
    await desk.held(lease)
    desk.now += TTL
    assert (lease.attempts, (await desk.lease()).attempts) == (2, 3)


async def test_giving_back_is_not_an_attempt(desk: Desk) -> None:
    for _ in range(4):
        lease = await desk.lease()
        assert lease.attempts == 1
        await desk.ledger.release(lease)
        assert await desk.ledger.renew(lease, desk.now, TTL) is None
    assert lease.fence == 4


async def test_a_new_fence_presumes_what_the_old_one_holds(desk: Desk) -> None:
    zombie = await desk.lease()
    held = await desk.held(zombie, 0.4)
    desk.now += TTL
    lease = await desk.lease()
    assert await desk.money() == (0.4, 0.0, 0.4)
    # the zombie may not hold any more
    answer = await desk.ledger.hold(desk.intent(zombie))
    assert isinstance(answer, Denied)
    assert answer.reason == "fenced"
    # but what it has received is taken, at the true cost
    assert await desk.ledger.settle(ended(held, 0.15))
    assert await desk.money() == (0.15, 0.0, 0.0)
    assert isinstance(await desk.ledger.hold(desk.intent(lease)), Held)


async def test_a_zombies_news_of_nothing_gives_the_money_back(desk: Desk) -> None:
    held = await desk.held(await desk.lease(), 0.4)
    desk.now += TTL
    await desk.lease()
    await desk.ledger.settle(ended(held, 0.0, "unreachable"))
    assert await desk.money() == (0.0, 0.0, 0.0)


async def test_committed_batches_are_closed_to_all(desk: Desk) -> None:
    lease = await desk.lease()
    late = await desk.held(lease, 0.4)
    assert await desk.ledger.commit_batch(desk.job, FIRST, BatchIndex(0)) == 2
    assert await desk.ledger.commit_batch(desk.job, FIRST, BatchIndex(0)) == 2
    # what it still held is charged, since no later lease would do it
    assert await desk.money() == (0.4, 0.0, 0.4)
    await desk.ledger.settle(ended(late, 0.1))
    assert await desk.money() == (0.1, 0.0, 0.0)
    assert await try_lease(desk) == "committed"
    assert await desk.ledger.renew(lease, desk.now, TTL) is None
    assert await desk.ledger.open_batches(desk.job, desk.now) == [1, 2]
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert (row.batches, row.committed, row.state) == (3, 1, "running")


async def test_refusals_name_their_reason(desk: Desk) -> None:
    assert await try_lease(desk, batch=9) == "unknown"
    assert await try_lease(desk, generation=2) == "unknown"
    await desk.ledger.close_generation(desk.job, FIRST, desk.now)
    assert await try_lease(desk) == "closed"
    assert await try_lease(desk, batch=9) == "unknown"
    desk.job = JobId("nobody")
    assert await try_lease(desk) == "unknown"


async def test_open_batches_leaves_out_running_leases(desk: Desk) -> None:
    await desk.lease(1)
    assert await desk.ledger.open_batches(desk.job, desk.now) == [0, 2]
    assert await desk.ledger.open_batches(desk.job, desk.now + TTL) == [0, 1, 2]
    assert await desk.ledger.open_batches(JobId("nobody"), desk.now) == []


async def test_lost_batches_are_published_again_once(desk: Desk) -> None:
    # Given batch 0 taken and lost, batch 1 held, batch 2 never taken
    await desk.lease(0)
    desk.now += TTL
    await desk.lease(1)
    # When a sweeper looks, then only the lost one is due, and only once within the quiet time
    assert await desk.ledger.lost_batches(desk.job, desk.now, 10_000) == [0]
    assert await desk.ledger.lost_batches(desk.job, desk.now + 9_999, 10_000) == []
    assert await desk.ledger.lost_batches(desk.job, desk.now + 10_000, 10_000) == [0]
    # and a batch nobody ever took is due after ten times that
    assert 2 in await desk.ledger.lost_batches(desk.job, desk.now + 100_000, 10_000)


async def test_batches_published_by_a_clock_that_was_set_back_are_not_waited_for(desk: Desk) -> None:
    # Given a lost batch that a sweeper published when its clock was an hour ahead
    await desk.lease(0)
    desk.now += TTL
    assert 0 in await desk.ledger.lost_batches(desk.job, desk.now + 3_600_000, 10_000)
    # Then one whose clock is right publishes it again, once
    assert 0 in await desk.ledger.lost_batches(desk.job, desk.now, 10_000)
    assert await desk.ledger.lost_batches(desk.job, desk.now + 1, 10_000) == []


async def test_generations_follow_each_other(desk: Desk) -> None:
    # Given a generation whose batches are all committed
    held = await desk.held(await desk.lease(), 0.4)
    for batch in range(3):
        await desk.ledger.commit_batch(desk.job, FIRST, BatchIndex(batch))
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert (row.state, row.committed) == ("closing", 3)
    assert not await desk.ledger.start_generation(desk.job, FIRST, 1)
    # When it is closed, then the next can begin, once, and without the old stop
    await desk.ledger.stop_job(desk.job, "cancelled")
    await desk.ledger.close_generation(desk.job, FIRST, desk.now)
    begun = await asyncio.gather(*[desk.ledger.start_generation(desk.job, FIRST, 2) for _ in range(5)])
    assert sum(begun) == 1
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert (row.generation, row.state, row.stop, row.closed_at) == (2, "running", None, None)
    assert (row.batches, row.committed) == (2, 0)
    # and calls of the first are still settled, and known to the second
    await desk.ledger.settle(ended(held, 0.2))
    assert await try_lease(desk, generation=1) == "closed"
    assert isinstance(await try_lease(desk, generation=2), Lease)
    assert len(await desk.rows(1)) == 1
    assert len(await desk.rows(2)) == 0


async def test_closing_leaves_nothing_held(desk: Desk) -> None:
    lease = await desk.lease()
    held = [await desk.held(lease, 0.4) for _ in range(3)]
    await desk.ledger.settle(ended(held[0], 0.1))
    assert await desk.ledger.presume(desk.job, FIRST) == 2
    assert await desk.ledger.presume(desk.job, FIRST) == 0
    assert await desk.money() == (0.9, 0.0, 0.8)
    await desk.held(lease, 0.1)
    await desk.ledger.close_generation(desk.job, FIRST, desk.now)
    assert (await desk.money())[1] == 0.0
    answer = await desk.ledger.hold(desk.intent(lease))
    assert isinstance(answer, Denied)
    assert answer.reason == "fenced"
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert row.closed_at == desk.now


async def test_cancel_ends_all_holds_and_all_waiting(desk: Desk) -> None:
    lease = await desk.lease()
    held = await desk.held(lease, 5.0)
    waiting = [asyncio.create_task(desk.ledger.hold(desk.intent(lease))) for _ in range(100)]
    await asyncio.sleep(0.02)
    await desk.ledger.stop_job(desk.job, "cancelled")
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert {answer.reason for answer in answers if isinstance(answer, Denied)} == {"cancelled"}
    assert len(answers) == 100
    assert await desk.ledger.settle(ended(held, 1.0))
    row = await desk.ledger.renew(lease, desk.now, TTL)
    assert row is not None
    assert row.stop == "cancelled"


async def test_a_lost_lease_ends_all_waiting(desk: Desk) -> None:
    lease = await desk.lease()
    await desk.held(lease, 5.0)
    waiting = asyncio.create_task(desk.ledger.hold(desk.intent(lease)))
    await asyncio.sleep(0.02)
    desk.now += TTL
    await desk.lease()
    answer = await asyncio.wait_for(waiting, 60)
    assert isinstance(answer, Denied)
    assert answer.reason == "fenced"


async def test_a_job_is_created_once(desk: Desk) -> None:
    made = await desk.ledger.create_job(desk.job, name="again", account=desk.account, batches=9, now=0)
    assert not made
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert (row.name, row.batches) == ("mails", 3)
    assert desk.job in [row.job for row in await desk.ledger.jobs()]
    assert await desk.ledger.job(JobId("nobody")) is None


async def test_a_job_of_many_batches(desk: Desk) -> None:
    job = JobId(f"{desk.job}-large")
    assert await desk.ledger.create_job(job, name="large", account=desk.account, batches=4321, now=0)
    assert len(await desk.ledger.open_batches(job, desk.now)) == 4321


async def test_named_leases_are_fenced(ledger: Ledger, desk: Desk) -> None:
    name = f"sweeper-{desk.job}"
    first = await ledger.take(name, owner="a", now=0, ttl_ms=100)
    assert first == 1
    assert await ledger.take(name, owner="b", now=99, ttl_ms=100) is None
    assert await ledger.keep(name, owner="a", fence=Fence(1), now=99, ttl_ms=100)
    assert await ledger.take(name, owner="b", now=198, ttl_ms=100) is None
    # it runs out, and the old holder learns it
    assert await ledger.take(name, owner="b", now=199, ttl_ms=100) == 2
    assert not await ledger.keep(name, owner="a", fence=Fence(1), now=199, ttl_ms=100)
    await ledger.give_back(name, owner="a", fence=Fence(1))
    assert await ledger.take(name, owner="a", now=200, ttl_ms=100) is None
    # given back, it is free at once, under a larger fence
    await ledger.give_back(name, owner="b", fence=Fence(2))
    assert await ledger.take(name, owner="a", now=200, ttl_ms=100) == 3


async def test_a_named_lease_of_a_clock_that_was_set_back_is_not_waited_for(
    ledger: Ledger, desk: Desk
) -> None:
    # Given a lease taken when the clock was an hour ahead
    name = f"sweeper-{desk.job}"
    assert await ledger.take(name, owner="a", now=3_600_000, ttl_ms=100) == 1
    # Then it is free now, while one of a clock that is a little ahead is not
    assert await ledger.take(name, owner="b", now=0, ttl_ms=100) == 2
    assert await ledger.keep(name, owner="b", fence=Fence(2), now=90, ttl_ms=100)
    assert await ledger.take(name, owner="c", now=0, ttl_ms=100) is None


async def test_a_race_for_a_named_lease_has_one_winner(ledger: Ledger, desk: Desk) -> None:
    taken = await asyncio.gather(
        *[ledger.take(f"close-{desk.job}", owner=f"w{number}", now=0, ttl_ms=100) for number in range(10)]
    )
    assert [fence for fence in taken if fence is not None] == [1]


async def test_the_leases_of_a_dead_owner_are_ended_at_once(desk: Desk) -> None:
    # Given two holders of batches, one of them with a named lease too
    first, second = await desk.lease(0, owner="dead"), await desk.lease(1, owner="alive")
    fence = await desk.ledger.take("close", owner="dead", now=desk.now, ttl_ms=TTL)
    assert {"dead", "alive"} <= await desk.ledger.owners(desk.now)
    # When one is known to be dead
    await desk.ledger.end_leases("dead")
    # Then its leases are free, with a larger fence, and the other's are not
    assert "dead" not in await desk.ledger.owners(desk.now)
    again = await try_lease(desk, batch=0)
    assert isinstance(again, Lease)
    assert again.fence > first.fence
    assert await desk.ledger.renew(second, desk.now, TTL) is not None
    taken = await desk.ledger.take("close", owner="other", now=desk.now, ttl_ms=TTL)
    assert fence is not None
    assert taken is not None
    assert taken > fence
