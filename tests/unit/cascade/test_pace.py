"""A tier in trouble: what is waited for, what is given up, and how little is spent on knocking."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cascade.call import Caller
from pipeline.cascade.holder import Stopped, Yielded
from pipeline.cascade.limits import Allowed
from pipeline.cascade.pace import FIRST, Pace
from pipeline.cascade.rung import Asked
from pipeline.ledger.memory import MemoryLedger
from pipeline.ledger.pacing import FAILURES
from pipeline.ports.ledger import Draw, Drawn
from schemas.ids import QueryId, TierName
from schemas.records import Reply
from tests.unit.cascade.desk import CUT, NOT_SENT, Desk, Scripted, http, ok, request, rung

START = 1_700_000_000_000


class Clock:
    """Runs a hundred times as fast as the loop, so that seconds of waiting take none."""

    def __init__(self) -> None:
        self._from = asyncio.get_running_loop().time()

    def __call__(self) -> int:
        return START + int((asyncio.get_running_loop().time() - self._from) * 100_000)


class QuickPace(Pace):
    look_ms = 5


class Told(MemoryLedger):
    """Writes down what it is told of upstreams."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Draw] = []

    async def draw(self, upstream: str, asked: Draw, now: int) -> Drawn:
        self.asked.append(asked)
        return await super().draw(upstream, asked, now)


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rest(_: Caller, seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Caller, "rest", rest)


def pace(shared: MemoryLedger, clock: Callable[[], int], **allowed: Any) -> Pace:
    given = {"upstream": "u", "most": 64, "patience_ms": 60_000, **allowed}
    return QuickPace(TierName("t"), Allowed(**given), shared, clock)


async def ask_all(desk: Desk, paces: list[Pace], provider: Scripted, queries: int) -> list[Asked]:
    tiers = [rung(provider, retries=4, pace=each) for each in paces]
    calls = [
        desk.caller.ask(tiers[number % len(tiers)], request(f"d{number}"), QueryId(f"q{number}"))
        for number in range(queries)
    ]
    return await asyncio.wait_for(asyncio.gather(*calls), 30)


@pytest.mark.parametrize("reply", [http(500), CUT, NOT_SENT])
@pytest.mark.parametrize("skips", [True, False])
async def test_a_tier_that_is_down_is_asked_a_few_times_not_a_thousand(reply: Reply, skips: bool) -> None:
    # Given four processes with 250 queries each, and a tier that answers nobody
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    patience = 0 if skips else 60_000
    paces = [pace(shared, clock, skips=skips, patience_ms=patience) for _ in range(4)]
    provider = Scripted(after=reply)
    # When all are asked
    asked = await ask_all(desk, paces, provider, 1000)
    # Then each process risked what it may before a first answer, and one at a time looked again
    assert all(each.parked and each.completion is None for each in asked)
    assert len(provider.sent) <= 4 * (FIRST + 1) + 8
    account = await desk.account()
    assert account.presumed <= (4 * (FIRST + 1) + 8) * 100
    assert account.held == 0


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_bad_key_or_model_is_refused_a_few_times_not_a_thousand(status: int) -> None:
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    provider = Scripted(after=http(status))

    asked = await ask_all(desk, [pace(shared, clock) for _ in range(4)], provider, 1000)

    assert all(each.parked for each in asked)
    assert len(provider.sent) <= 4 * FIRST
    assert {each.problem for each in asked} <= {
        f"parked: HTTP {status}: its key or its model is refused",
        f"rejected: HTTP {status}",
        "never sent: the tier is down",
    }
    # And nobody else is kept from it
    row = await shared.pacing("u")
    assert row is None or not row.parked_at


async def test_what_was_answered_before_is_read_though_the_tier_is_down() -> None:
    # Given a reply in the journal of an earlier holder, and a tier that is down since
    desk, shared, clock = await Desk.open(), MemoryLedger(), Clock()
    tier = rung(Scripted(ok()), pace=pace(shared, clock, patience_ms=0))
    first = await desk.caller.ask(tier, request(), QueryId("q"))
    await shared.draw("u", Draw(failed=FAILURES), clock())
    # When the batch is taken up by another process
    caller = await desk.take(now=100)
    fresh = rung(Scripted(), pace=pace(shared, clock, patience_ms=0))
    again = await caller.ask(fresh, request(), QueryId("q"))
    # Then it gets that reply, and what was never asked is given up
    assert (again.call_id, again.completion) == (first.call_id, first.completion)
    assert (await caller.ask(fresh, request("other"), QueryId("r"))).parked
    await fresh.pace.close()


async def test_refusals_of_single_requests_park_nothing() -> None:
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    provider = Scripted(after=http(400))

    asked = await ask_all(desk, [pace(shared, clock)], provider, 50)

    assert len(provider.sent) == 50
    assert not any(each.parked for each in asked)


async def test_queries_wait_for_a_tier_that_comes_back() -> None:
    # Given a tier that fails until it was looked at twice
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    provider = Scripted(*[http(503)] * (FAILURES + 2), after=ok())
    # When two processes ask it, then all queries are answered in the end
    asked = await ask_all(desk, [pace(shared, clock) for _ in range(2)], provider, 200)
    assert all(each.completion is not None for each in asked)
    row = await shared.pacing("u")
    assert row is not None
    assert (row.parked_at, row.failures) == (0, 0)


async def test_an_outage_uses_up_nobodys_attempts() -> None:
    # Given one query with a single retry, whose calls are the ones that look whether the tier is up again
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    provider = Scripted(*[http(503)] * 4, after=ok())
    await shared.draw("u", Draw(failed=FAILURES), clock())
    tier = rung(provider, retries=1, pace=pace(shared, clock))
    asked = await asyncio.wait_for(desk.caller.ask(tier, request(), QueryId("q")), 60)
    assert asked.completion is not None
    assert len(provider.sent) == 5


async def test_retry_after_stops_every_process() -> None:
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    sent: list[int] = []
    provider = Scripted(ok(), http(429, retry_after_s=20.0), after=ok())

    async def note() -> None:
        sent.append(clock())

    provider.before_send = note
    paces = [pace(shared, clock, most=1) for _ in range(2)]
    await ask_all(desk, paces[:1], provider, 2)

    await ask_all(desk, paces, provider, 4)

    assert all(later >= sent[1] + 20_000 for later in sent[2:])


async def test_a_429_for_long_parks_the_tier() -> None:
    desk, shared, clock = await Desk.open(), MemoryLedger(), Clock()
    provider = Scripted(after=http(429, retry_after_s=3600.0))

    asked = await ask_all(desk, [pace(shared, clock, patience_ms=5_000)], provider, 30)

    assert all(each.parked for each in asked)
    assert len(provider.sent) <= FIRST


async def test_stated_limits_are_kept() -> None:
    # Given 6,000 calls and 60,000 tokens a minute, of which a call is estimated at 20 and uses 40
    desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
    provider = Scripted(after=ok(cost=40))
    began = clock()
    paces = [pace(shared, clock, requests=6_000, tokens=60_000) for _ in range(2)]
    # When 100 are asked, then that took what 4,000 tokens take
    await ask_all(desk, paces, provider, 100)
    assert clock() - began >= 0.9 * 60_000 * 100 * 20 / 60_000


async def test_tokens_that_were_not_used_are_given_back() -> None:
    # Given 60,000 tokens a minute, and calls that use four each
    desk, told = await Desk.open(cap=10**9), Told()
    tier = rung(Scripted(after=ok(cost=4)), pace=pace(told, Clock(), tokens=60_000))
    # When ten are asked, one after the other
    for number in range(10):
        await desk.caller.ask(tier, request(f"d{number}"), QueryId(f"q{number}"))
    # Then what they were given for their estimate and did not need was reported with the next draw
    given = [asked.cost for asked in told.asked if asked.permits]
    assert sum(asked.back for asked in told.asked) == sum(cost - 4_000 for cost in given[:9]) > 0


async def test_who_waits_leaves_when_the_batch_must_end() -> None:
    # Given a tier that is down, and calls that wait for it
    for why in (Yielded(), Stopped("cancelled")):
        desk, shared, clock = await Desk.open(cap=10**9), MemoryLedger(), Clock()
        tier = rung(Scripted(after=http(500)), retries=9, pace=pace(shared, clock, patience_ms=10**9))
        asking = [
            asyncio.create_task(desk.caller.ask(tier, request(f"d{n}"), QueryId(f"q{n}"))) for n in range(20)
        ]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in asking)
        # When its time is up, or it is cancelled, then they end at once
        desk.caller.time_is_up = isinstance(why, Yielded)
        desk.caller.end_waits(why)
        ended = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 60)
        if isinstance(why, Yielded):
            assert all(isinstance(each, Yielded) for each in ended)
        else:
            assert {each.denied.reason for each in ended if isinstance(each, Asked) and each.denied} == {
                "cancelled"
            }
        assert (await desk.account()).held == 0
        await tier.pace.close()


async def test_a_batch_that_is_over_takes_no_turn_with_it() -> None:
    # Given a batch whose lease is lost, and more of its queries that come for a turn than the tier has room for
    desk, tier = await Desk.open(cap=10**9), pace(MemoryLedger(), Clock())
    provider = Scripted(after=ok("blue"))
    asking = rung(provider, pace=tier)
    desk.caller.time_is_up = True
    calls = [desk.caller.ask(asking, request(f"d{number}"), QueryId(f"q{number}")) for number in range(50)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, Yielded) for each in ended)
    # When the next batch comes, then it has all the room there is
    desk.caller.time_is_up = False
    assert len(await ask_all(desk, [tier], provider, 50)) == 50


async def test_failures_narrow_the_tier_and_answers_widen_it() -> None:
    shared, clock = MemoryLedger(), Clock()
    tier = pace(shared, clock)
    assert tier.wire.limit == FIRST
    for _ in range(40):
        tier.answered(clock())
    assert tier.wire.limit == 64
    for _ in range(3):
        tier.failed("presumed", http(503), clock())
    assert tier.wire.limit < 50
    await tier.close()


async def test_without_trouble_the_ledger_is_asked_once() -> None:
    desk, told = await Desk.open(cap=10**9), Told()
    await ask_all(desk, [pace(told, lambda: START)], Scripted(after=ok()), 500)
    assert len(told.asked) <= 2
