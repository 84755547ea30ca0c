"""No call without a hold, nothing read before it is journalled, and no hold left over, whatever happens."""

import asyncio

import msgspec
import pytest

from pipeline.cascade.call import Caller
from pipeline.cascade.holder import Yielded
from pipeline.ports.ledger import Settlement
from schemas.errors import LeaseLost
from schemas.ids import QueryId
from schemas.records import Reply
from tests.unit.cascade.desk import CUT, HOLD, JOB, NOT_SENT, Desk, Scripted, http, ok, request, rung

Q, Q2 = QueryId("q"), QueryId("q2")
NO_FORMAT = http(400, b"response_format is not supported")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between attempts are noted, not slept."""
    waited: list[float] = []

    async def rest(_: Caller, seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Caller, "rest", rest)
    return waited


async def nothing_held(desk: Desk) -> None:
    account = await desk.account()
    assert account.held == 0
    assert account.spent == sum(call.cost for call in await desk.calls())
    assert all(call.outcome for call in await desk.calls())


async def test_the_hold_is_durable_before_the_request_goes_out() -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=40))
    seen: list[tuple[int, int]] = []

    async def look() -> None:
        account = await desk.account()
        seen.append((account.held, account.spent))

    provider.before_send = look
    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert seen == [(HOLD, 0)]
    assert asked.completion is not None
    assert (asked.completion.text, asked.cost, asked.outcome) == ("a", 40, "ok")
    assert (asked.call_id, asked.reused, asked.latency_ms) == (provider.keys[0], False, 7)
    await nothing_held(desk)


async def test_a_reply_is_journalled_before_it_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, provider = await Desk.open(), Scripted(ok())
    settle, events = desk.ledger.settle, []

    async def noted(settlement: Settlement) -> bool:
        done = await settle(settlement)
        events.append((settlement.outcome, settlement.body))
        return done

    monkeypatch.setattr(desk.ledger, "settle", noted)
    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert events == [("ok", ok().body)]
    assert asked.call_id is not None
    assert await desk.ledger.body(asked.call_id) == ok().body


@pytest.mark.parametrize(
    ("first", "outcome", "cost"),
    [
        (CUT, "presumed", HOLD),
        (http(500), "presumed", HOLD),
        (http(429), "rate_limited", 0),
        (NOT_SENT, "unreachable", 0),
    ],
)
async def test_a_failed_attempt_is_settled_and_a_fresh_one_has_its_own_hold(
    first: Reply, outcome: str, cost: int
) -> None:
    desk, provider = await Desk.open(), Scripted(first, ok(cost=40))

    asked = await desk.caller.ask(rung(provider), request(), Q)

    calls = await desk.calls()
    assert [(call.outcome, call.cost, call.presumed) for call in calls] == [
        (outcome, cost, outcome == "presumed"),
        ("ok", 40, False),
    ]
    assert calls[0].attempt < calls[1].attempt
    assert len(set(provider.keys)) == 2
    assert asked.cost == 40
    assert (await desk.account()).presumed == (cost if outcome == "presumed" else 0)
    await nothing_held(desk)


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize(("reply", "outcome"), [(http(429), "rate_limited"), (CUT, "presumed")])
async def test_retries_are_counted(retries: int, reply: Reply, outcome: str) -> None:
    desk, provider = await Desk.open(), Scripted(after=reply)

    asked = await desk.caller.ask(rung(provider, retries=retries), request(), Q)

    assert len(provider.sent) == 1 + retries
    assert asked.completion is None
    assert asked.problem.startswith(f"{outcome}: ")
    assert asked.call_id == provider.keys[-1]
    await nothing_held(desk)


async def test_what_the_provider_asks_for_is_waited_between_attempts(no_waiting: list[float]) -> None:
    desk = await Desk.open()
    provider = Scripted(http(429, retry_after_s=0.09), http(429, retry_after_s=0.11), ok())

    await desk.caller.ask(rung(provider), request(), Q)

    assert no_waiting == [0.09, 0.11]


async def test_a_wait_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, provider = await Desk.open(), Scripted(http(429), ok())
    tier = rung(provider, slots=1)
    taken: list[int] = []

    async def rest(_: Caller, seconds: float) -> None:
        taken.append(tier.pace.wire.taken)

    monkeypatch.setattr(Caller, "rest", rest)
    await desk.caller.ask(tier, request(), Q)

    assert taken == [0]


async def test_a_client_error_is_not_asked_again() -> None:
    desk, provider = await Desk.open(), Scripted(http(401))

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert asked.problem == "rejected: HTTP 401"
    assert (await desk.account()).spent == 0
    await nothing_held(desk)


async def test_a_changed_request_is_encoded_anew_under_an_identity_of_its_own() -> None:
    desk, provider = await Desk.open(), Scripted(NO_FORMAT, ok())

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert [sent["schema"] for sent in provider.sent] == [True, False]
    first, second = await desk.calls()
    assert (first.outcome, first.cost) == ("rejected", 0)
    assert first.request_hash != second.request_hash == asked.request_hash
    await nothing_held(desk)


async def test_equal_requests_in_flight_share_one_call() -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=40))
    provider.gate = asyncio.Event()
    tier = rung(provider)
    asking = [asyncio.create_task(desk.caller.ask(tier, request(), QueryId(f"q{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    provider.gate.set()

    asked = await asyncio.gather(*asking)

    assert len(provider.sent) == 1
    assert [each.cost for each in asked] == [40, 0, 0, 0, 0]
    assert [each.reused for each in asked] == [False, True, True, True, True]
    assert sum(each.usage.input for each in asked) == 40
    assert len({each.call_id for each in asked}) == 5
    await nothing_held(desk)


async def test_when_the_shared_call_fails_the_next_one_tries() -> None:
    desk, provider = await Desk.open(), Scripted(http(400), ok())
    tier = rung(provider)

    asked = await asyncio.gather(desk.caller.ask(tier, request(), Q), desk.caller.ask(tier, request(), Q2))

    assert [each.completion is not None for each in asked] == [False, True]
    await nothing_held(desk)


async def test_duplicates_each_do_not_share() -> None:
    desk, provider = await Desk.open(share=False), Scripted(after=ok())
    tier = rung(provider)

    asked = await asyncio.gather(*(desk.caller.ask(tier, request(), each) for each in (Q, Q2)))

    assert len(provider.sent) == 2
    assert [each.reused for each in asked] == [False, False]
    assert (await desk.account()).spent == 80


@pytest.mark.parametrize("other", ["tier", "document", "sample"])
async def test_unequal_requests_do_not_share(other: str) -> None:
    desk, provider = await Desk.open(), Scripted(after=ok())

    await desk.caller.ask(rung(provider), request(), Q)
    await desk.caller.ask(
        rung(provider, name="u" if other == "tier" else "t"),
        request("other" if other == "document" else "doc"),
        Q,
        sample=int(other == "sample"),
    )

    assert len(provider.sent) == 2


async def test_a_known_answer_costs_another_query_nothing() -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=40))
    tier = rung(provider)
    first = await desk.caller.ask(tier, request(), Q)

    again = await desk.caller.ask(tier, request(), Q2)

    assert again.completion == first.completion
    assert (again.cost, again.reused, again.usage.input) == (0, True, 0)
    assert again.call_id != first.call_id
    assert (await desk.account()).spent == 40


async def test_a_redelivered_query_gets_its_own_call_back_unpaid() -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=40))
    first = await desk.caller.ask(rung(provider), request(), Q)

    caller = await desk.take(now=100)
    again = await caller.ask(rung(provider), request(), Q)

    assert (again.call_id, again.reused) == (first.call_id, False)
    assert (again.cost, again.usage, again.latency_ms) == (first.cost, first.usage, first.latency_ms)
    assert len(provider.sent) == 1
    assert (await desk.account()).spent == 40


async def test_no_money_is_no_call() -> None:
    desk, provider = await Desk.open(cap=HOLD - 1), Scripted()

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert asked.denied is not None
    assert asked.denied.reason == "exhausted"
    assert provider.sent == []
    await nothing_held(desk)


async def test_money_that_runs_out_between_attempts_ends_them() -> None:
    desk, provider = await Desk.open(cap=HOLD + 50), Scripted(CUT)

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert asked.denied is not None
    assert len(provider.sent) == 1
    assert (await desk.account()).spent == HOLD
    await nothing_held(desk)


async def test_a_cancelled_job_calls_nobody() -> None:
    desk, provider = await Desk.open(), Scripted()
    await desk.ledger.stop_job(JOB, "cancelled")

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert asked.denied is not None
    assert asked.denied.reason == "cancelled"
    assert provider.sent == []


async def test_who_lost_the_lease_stops() -> None:
    desk, provider = await Desk.open(), Scripted()
    zombie = desk.caller
    await desk.take(now=100)

    with pytest.raises(LeaseLost):
        await zombie.ask(rung(provider), request(), Q)

    assert provider.sent == []
    await nothing_held(desk)


async def test_a_cost_over_the_hold_halts_the_job(caplog: pytest.LogCaptureFixture) -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=HOLD + 1))
    tier = rung(provider)

    await desk.caller.ask(tier, request(), Q)
    after = await desk.caller.ask(tier, request("other"), Q2)

    assert after.denied is not None
    assert after.denied.reason == "over_hold"
    assert [record.levelname for record in caplog.records if "over_hold" in record.getMessage()] == ["ERROR"]
    assert (await desk.account()).spent == HOLD + 1
    await nothing_held(desk)


async def test_no_call_is_begun_once_time_is_up() -> None:
    desk, provider = await Desk.open(), Scripted()
    desk.caller.time_is_up = True

    with pytest.raises(Yielded):
        await desk.caller.ask(rung(provider), request(), Q)

    assert provider.sent == []
    assert await desk.calls() == []


async def test_who_waits_for_a_slot_when_time_runs_out_yields() -> None:
    desk, provider = await Desk.open(), Scripted(ok())
    provider.gate = asyncio.Event()
    tier = rung(provider, slots=1)
    asking = [
        asyncio.create_task(desk.caller.ask(tier, request(f"d{n}"), QueryId(f"q{n}"))) for n in range(3)
    ]
    await asyncio.sleep(0.01)
    assert len(provider.sent) == 1
    desk.caller.time_is_up = True
    provider.gate.set()

    ended = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(each).__name__ for each in ended] == ["Asked", "Yielded", "Yielded"]
    assert len(provider.sent) == 1
    await nothing_held(desk)


async def test_time_that_runs_out_between_attempts_ends_them() -> None:
    desk, provider = await Desk.open(), Scripted(http(429))

    async def ring() -> None:
        desk.caller.time_is_up = True

    provider.before_send = ring
    with pytest.raises(Yielded):
        await desk.caller.ask(rung(provider), request(), Q)

    assert len(provider.sent) == 1
    await nothing_held(desk)


async def test_a_reply_without_usage_is_charged_in_full() -> None:
    desk, provider = await Desk.open(), Scripted(ok(cost=None))

    asked = await desk.caller.ask(rung(provider), request(), Q)

    (call,) = await desk.calls()
    assert (asked.cost, call.cost, call.presumed) == (HOLD, HOLD, False)
    assert "no usage" in call.error
    await nothing_held(desk)


@pytest.mark.parametrize(
    ("finish_reason", "outcome"),
    [
        ("length", "truncated"),
        ("malformed", "malformed"),
        ("refusal", "refused"),
        ("content_filter", "refused"),
    ],
)
async def test_a_complete_reply_of_no_use_is_settled_and_never_asked_again(
    finish_reason: str, outcome: str
) -> None:
    desk, provider = await Desk.open(), Scripted(ok(finish_reason=finish_reason, cost=30))
    tier = rung(provider)

    asked = await desk.caller.ask(tier, request(), Q)
    again = await desk.caller.ask(tier, request(), Q2)

    assert (asked.outcome, again.outcome) == (outcome, outcome)
    assert len(provider.sent) == 1
    assert (await desk.account()).spent == 30
    await nothing_held(desk)


async def test_a_local_tier_needs_no_money_and_no_journal() -> None:
    desk, provider = await Desk.open(cap=0), Scripted(ok(), local=True)

    asked = await desk.caller.ask(rung(provider), request(), Q)

    assert asked.completion is not None
    assert asked.cost == 0
    assert asked.call_id is not None
    assert msgspec.structs.astuple(await desk.account())[2:] == (0, 0, 0, 0)
    assert await desk.calls() == []
