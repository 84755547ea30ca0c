"""Known replies, equal requests in flight, attempts, and callers who go away."""

import asyncio
import contextlib

import pytest

from pipeline.ports.ledger import Held, Known, Ledger
from schemas.errors import LedgerUnreachable
from schemas.money import Usage
from tests.contract.ledger.desk import TTL, Desk, ended


async def test_a_redelivered_batch_gets_its_replies_at_no_cost(desk: Desk) -> None:
    # Given a reply journalled by a worker that then died
    held = await desk.held(await desk.lease(), 0.4, request="same", query="q")
    await desk.ledger.settle(ended(held, 0.3))
    # When the next holder asks the same for the same query
    desk.now += TTL
    lease = await desk.lease(owner="worker-2")
    answer = await desk.ledger.hold(desk.intent(lease, 0.4, request="same", query="q"))
    # Then it gets the reply, byte for byte
    usage = Usage(input=11, cached_input=2, cache_write=3, output=5, reasoning=7)
    body = f"reply to {held.call_id}".encode()
    assert answer == Known(held.call_id, body, 300_000_000, 120, True, usage)  # type: ignore[arg-type]
    assert await desk.money() == (0.3, 0.0, 0.0)


async def test_another_query_with_the_same_request_is_told_so(desk: Desk) -> None:
    lease = await desk.lease()
    held = await desk.held(lease, request="same", query="q1")
    await desk.ledger.settle(ended(held, 0.1, "truncated"))
    answer = await desk.ledger.hold(desk.intent(lease, request="same", query="q2"))
    assert isinstance(answer, Known)
    assert not answer.same_query
    # another sample of the same request is another call
    assert isinstance(await desk.ledger.hold(desk.intent(lease, request="same", sample=1)), Held)


async def test_a_known_reply_needs_no_money(desk: Desk) -> None:
    lease = await desk.lease()
    held = await desk.held(lease, 5.0, request="same", query="q")
    await desk.ledger.settle(ended(held, 5.0))
    answer = await desk.ledger.hold(desk.intent(lease, 5.0, request="same", query="q"))
    assert isinstance(answer, Known)


async def test_equal_requests_share_one_call_in_flight(desk: Desk) -> None:
    # Given twenty equal requests of two batches, asked at once
    leases = [await desk.lease(0), await desk.lease(1)]
    sent = 0

    async def ask(number: int) -> bytes:
        nonlocal sent
        answer = await desk.ledger.hold(desk.intent(leases[number % 2], request="same"))
        if isinstance(answer, Held):
            sent += 1
            await asyncio.sleep(0.02)
            settlement = ended(answer)
            await desk.ledger.settle(settlement)
            return settlement.body or b""
        assert isinstance(answer, Known), answer
        return answer.body

    # When the first is answered, then all have the answer
    bodies = await asyncio.gather(*map(ask, range(20)))
    assert (sent, len(set(bodies))) == (1, 1)
    assert await desk.money() == (0.1, 0.0, 0.0)


async def test_after_a_release_the_next_of_the_equal_requests_is_sent(desk: Desk) -> None:
    lease = await desk.lease()
    first = await desk.held(lease, request="same", query="q")
    second = asyncio.create_task(desk.ledger.hold(desk.intent(lease, request="same", query="q")))
    await asyncio.sleep(0.02)
    assert not second.done()
    await desk.ledger.settle(ended(first, 0.0, "rate_limited"))
    answer = await asyncio.wait_for(second, 60)
    assert isinstance(answer, Held)
    assert (first.attempt, answer.attempt) == (1, 2)


async def test_after_an_unknown_outcome_the_request_may_be_sent_again(desk: Desk) -> None:
    lease = await desk.lease()
    first = await desk.held(lease, request="same", query="q")
    await desk.ledger.settle(ended(first, 0.1, "presumed", presumed=True))
    second = await desk.held(lease, request="same", query="q")
    assert second.attempt == 2
    assert await desk.money() == (0.1, 0.1, 0.1)


async def test_a_changed_request_of_the_same_intent_gets_the_next_free_attempt(desk: Desk) -> None:
    lease = await desk.lease()
    asked = [desk.intent(lease, request=f"wording {number}", query="q") for number in range(4)]
    answers = await asyncio.gather(*map(desk.ledger.hold, asked))
    assert sorted(answer.attempt for answer in answers if isinstance(answer, Held)) == [1, 2, 3, 4]
    later = await desk.held(lease, request="wording 5", query="q", attempt=9)
    assert later.attempt == 9
    rows = await desk.rows()
    assert sorted(row.attempt for row in rows.values()) == [1, 2, 3, 4, 9]


async def test_a_caller_that_goes_away_while_waiting_leaves_nothing(desk: Desk) -> None:
    # Given all money held, and three that wait
    lease = await desk.lease()
    first = await desk.held(lease, 5.0)
    waiting = [asyncio.create_task(desk.ledger.hold(desk.intent(lease, 1.0))) for _ in range(3)]
    await asyncio.sleep(0.02)
    # When two of them are cancelled and the money comes back
    for task in waiting[:2]:
        task.cancel()
    await desk.ledger.settle(ended(first, 0.0, "rejected"))
    # Then only the third holds anything
    assert isinstance(await asyncio.wait_for(waiting[2], 60), Held)
    assert await desk.money() == (0.0, 1.0, 0.0)
    assert len(await desk.rows()) == 2


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.006])
async def test_a_hold_cancelled_at_any_moment_is_released(desk: Desk, pause: float) -> None:
    lease = await desk.lease()
    tasks = [asyncio.create_task(desk.ledger.hold(desk.intent(lease, 0.1))) for _ in range(20)]
    await asyncio.sleep(pause)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kept = sum(isinstance(outcome, Held) for outcome in outcomes)
    for _ in range(100):
        if round((await desk.money())[1], 9) == round(kept * 0.1, 9):
            break
        await asyncio.sleep(0.01)
    # Then what is held belongs to callers that know of it, and the rest was never sent
    spent, held, _ = await desk.money()
    assert (spent, round(held, 9)) == (0.0, round(kept * 0.1, 9))
    released = [row for row in (await desk.rows()).values() if row.outcome is not None]
    assert all((row.outcome, row.cost) == ("unreachable", 0) for row in released)


async def test_a_cancelled_settlement_is_journalled_all_the_same(desk: Desk) -> None:
    held = await desk.held(await desk.lease(), 0.4)
    task = asyncio.create_task(desk.ledger.settle(ended(held, 0.3)))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    for _ in range(100):
        if (await desk.money())[0]:
            break
        await asyncio.sleep(0.01)
    assert await desk.money() == (0.3, 0.0, 0.0)
    assert await desk.ledger.body(held.call_id) is not None


async def test_closing_tells_those_who_wait(desk: Desk, ledger: Ledger) -> None:
    lease = await desk.lease()
    await desk.held(lease, 5.0)
    waiting = asyncio.create_task(ledger.hold(desk.intent(lease, 1.0)))
    await asyncio.sleep(0.02)
    await ledger.close()
    with pytest.raises(LedgerUnreachable):
        await asyncio.wait_for(waiting, 60)


async def test_the_journal_gives_back_what_it_was_told(desk: Desk) -> None:
    lease = await desk.lease(1)
    held = await desk.held(lease, 0.4, query="q ü\t日本")
    await desk.held(await desk.lease(2), 0.4)
    await desk.ledger.settle(ended(held, 0.3, "refused"))
    (row,) = await desk.ledger.calls(desk.job, lease.generation, lease.batch)
    assert (row.call_id, row.query_id, row.batch, row.attempt) == (held.call_id, "q ü\t日本", 1, 1)
    assert (row.outcome, row.finish_reason, row.latency_ms, row.sent_at) == (
        "refused",
        "stop",
        120,
        1_000_001,
    )
    assert row.usage == Usage(input=11, cached_input=2, cache_write=3, output=5, reasoning=7)
    assert (row.held, row.cost, row.tier, row.lane) == (400_000_000, 300_000_000, "small", "realtime")
    assert len(await desk.rows()) == 2
    assert await desk.ledger.body(held.call_id) == f"reply to {held.call_id}".encode()
