"""The cap, the tree of accounts, and what settlements move."""

import asyncio
from typing import get_args

import msgspec
import pytest

from pipeline.ledger.errors import CallEnded, UnknownAccount, UnknownCall
from pipeline.ports.ledger import Denied, Held, Ledger
from schemas.ids import AccountId, CallId, JobId
from schemas.records import Purpose
from tests.contract.ledger.desk import Desk, ended, nano, total


async def test_a_thousand_holds_at_once_pay_exactly_what_the_cap_allows(desk: Desk) -> None:
    # Given $5 and a thousand calls of $0.10 that cost what they hold
    lease = await desk.lease()

    async def ask() -> bool:
        answer = await desk.ledger.hold(desk.intent(lease, 0.1))
        if isinstance(answer, Held):
            await asyncio.sleep(0)
            assert await desk.ledger.settle(ended(answer, 0.1))
            return True
        assert isinstance(answer, Denied)
        assert answer.reason == "exhausted"
        return False

    # When all are asked at once
    paid = await asyncio.gather(*[ask() for _ in range(1000)])
    # Then fifty are paid, the rest denied, and not a cent is left
    assert sum(paid) == 50
    assert await desk.money() == (5.0, 0.0, 0.0)


async def test_nothing_is_denied_while_money_is_only_held(desk: Desk) -> None:
    # Given 45 calls that hold $0.60 and cost $0.10: $27 held in all, $4.50 true, under $5
    lease = await desk.lease()

    async def ask() -> Held | Denied:
        answer = await desk.ledger.hold(desk.intent(lease, 0.6))
        assert isinstance(answer, Held), answer
        await asyncio.sleep(0.002)
        await desk.ledger.settle(ended(answer, 0.1))
        return answer

    # When they run at once, then all get through, by waiting for each other
    await asyncio.gather(*[ask() for _ in range(45)])
    spent, held, _ = await desk.money()
    assert (round(spent, 9), held) == (4.5, 0.0)


async def test_a_hold_that_can_never_fit_is_denied_with_the_account_by_name(desk: Desk) -> None:
    lease = await desk.lease()
    first = await desk.held(lease, 3.0)
    await desk.ledger.settle(ended(first, 3.0))
    answer = await desk.ledger.hold(desk.intent(lease, 2.5))
    assert isinstance(answer, Denied)
    assert answer.reason == "exhausted"
    for told in (desk.account, "$5.00", "$3.00", "$2.50"):
        assert told in answer.detail


async def test_nobody_overtakes_a_large_hold_that_waits(desk: Desk) -> None:
    # Given $3 and $2 held, a hold of $4 waiting, and small ones behind it
    lease = await desk.lease()
    three, two = await desk.held(lease, 3.0), await desk.held(lease, 2.0)
    order: list[float] = []

    async def ask(usd: float) -> None:
        answer = await desk.ledger.hold(desk.intent(lease, usd))
        order.append(usd)
        assert isinstance(answer, Held)
        await desk.ledger.settle(ended(answer, 0.0, "rate_limited"))

    waiting = []
    for usd in (4.0, 1.5, 1.0):
        waiting.append(asyncio.create_task(ask(usd)))
        await asyncio.sleep(0.01)
    # When $2 come back, which is enough for a small one only, then it keeps its place
    await desk.ledger.settle(ended(two, 0.0, "rejected"))
    waiting.append(asyncio.create_task(ask(0.5)))
    await asyncio.sleep(0.1)
    assert not order
    # and when the rest comes back, the large one is first
    await desk.ledger.settle(ended(three, 0.5))
    await asyncio.gather(*waiting)
    assert order[0] == 4.0


async def test_raising_the_cap_lets_a_waiting_hold_through(desk: Desk) -> None:
    lease = await desk.lease()
    await desk.held(lease, 4.0)
    waiting = asyncio.create_task(desk.ledger.hold(desk.intent(lease, 2.0)))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await desk.ledger.raise_cap(desk.account, nano(1.0))
    assert isinstance(await asyncio.wait_for(waiting, 60), Held)


async def test_a_hold_must_fit_in_every_account_above(ledger: Ledger, name: str) -> None:
    # Given a job with $5 of its own under a team with $1
    team = AccountId(f"team-{name}")
    await ledger.open_account(team, nano(1.0))
    desk = await Desk(ledger, JobId(name), AccountId(name)).open(5.0, parent=team)
    lease = await desk.lease()
    # When it spends, then both accounts move, and the smaller one ends it
    held = await desk.held(lease, 0.75)
    assert await desk.money(team) == (0.0, 0.75, 0.0)
    await desk.ledger.settle(ended(held, 0.5))
    assert await desk.money(team) == await desk.money() == (0.5, 0.0, 0.0)
    answer = await ledger.hold(desk.intent(lease, 0.75))
    assert isinstance(answer, Denied)
    assert team in answer.detail


async def test_two_jobs_race_for_one_parent(ledger: Ledger, name: str) -> None:
    # Given two jobs with $5 each under one team with $3
    team = AccountId(f"team-{name}")
    await ledger.open_account(team, nano(3.0))
    names = (f"left-{name}", f"right-{name}")
    desks = [await Desk(ledger, JobId(each), AccountId(each)).open(5.0, parent=team) for each in names]

    async def ask(desk: Desk) -> int:
        lease, paid = await desk.lease(), 0
        for _ in range(30):
            answer = await ledger.hold(desk.intent(lease, 0.1))
            if isinstance(answer, Held):
                await ledger.settle(ended(answer, 0.1))
                paid += 1
        return paid

    # When both spend at once, then together they spend what the team has
    assert sum(await asyncio.gather(*map(ask, desks))) == 30
    assert (await desks[0].money(team))[0] == 3.0


async def test_a_chain_of_three_is_only_as_wide_as_its_narrowest(ledger: Ledger, name: str) -> None:
    # Given two jobs with $5 each, teams with $3 and $2, and an organisation with $4 above both
    org = AccountId(f"org-{name}")
    await ledger.open_account(org, nano(4.0))
    desks, teams = [], []
    for side, usd in (("left", 3.0), ("right", 2.0)):
        teams.append(AccountId(f"{side}-team-{name}"))
        await ledger.open_account(teams[-1], nano(usd), org)
        job = f"{side}-{name}"
        desks.append(await Desk(ledger, JobId(job), AccountId(job)).open(5.0, parent=teams[-1]))
    refused: set[str] = set()

    async def ask(desk: Desk) -> None:
        lease = await desk.lease()
        for _ in range(40):
            answer = await ledger.hold(desk.intent(lease, 0.1))
            if isinstance(answer, Held):
                await ledger.settle(ended(answer, 0.1))
            else:
                assert isinstance(answer, Denied)
                refused.add(answer.detail.split(":")[0])

    # When both spend at once
    await asyncio.gather(*map(ask, desks))
    # Then the organisation's money is spent to the last cent, no team passes its own, and every level adds up
    left, right = [await desk.money() for desk in desks]
    assert [await desk.money(team) for desk, team in zip(desks, teams, strict=True)] == [left, right]
    assert left[0] <= 3.0
    assert right[0] <= 2.0
    assert round(left[0] + right[0], 9) == 4.0
    assert (await desks[0].money(org)) == (4.0, 0.0, 0.0)
    assert f"account {org}" in refused


@pytest.mark.parametrize("purpose", get_args(Purpose))
async def test_whatever_a_call_is_for_it_is_paid_from_the_same_cap(desk: Desk, purpose: Purpose) -> None:
    # Given $0.10 left
    lease = await desk.lease()
    first = await desk.held(lease, 4.9)
    await desk.ledger.settle(ended(first, 4.9))
    # When a call of any purpose spends it
    intent = msgspec.structs.replace(desk.intent(lease, 0.1), purpose=purpose)
    assert await desk.ledger.hold(intent) == Held(intent.call_id, 1)
    assert await desk.money() == (4.9, 0.1, 0.0)
    await desk.ledger.settle(ended(intent.call_id, 0.1))
    assert (await desk.rows())[intent.call_id].purpose == purpose
    # Then the next one is refused
    answer = await desk.ledger.hold(msgspec.structs.replace(desk.intent(lease, 0.1), purpose=purpose))
    assert isinstance(answer, Denied)
    assert answer.reason == "exhausted"
    assert await desk.money() == (5.0, 0.0, 0.0)


async def test_an_account_keeps_its_cap_and_its_parent(ledger: Ledger, desk: Desk) -> None:
    await ledger.open_account(desk.account, nano(99.0))
    row = await ledger.account(desk.account)
    assert row is not None
    assert row.cap == nano(5.0)
    with pytest.raises(UnknownAccount):
        await ledger.open_account(AccountId("orphan"), nano(1.0), AccountId("nobody"))
    with pytest.raises(UnknownAccount):
        await ledger.raise_cap(AccountId("nobody"), nano(1.0))
    assert await ledger.account(AccountId("nobody")) is None


@pytest.mark.parametrize("outcome", ["rate_limited", "rejected", "unreachable"])
async def test_what_is_known_not_billed_is_released(desk: Desk, outcome: str) -> None:
    held = await desk.held(await desk.lease())
    assert await desk.ledger.settle(ended(held, 0.0, outcome))  # type: ignore[arg-type]
    assert await desk.money() == (0.0, 0.0, 0.0)
    row = (await desk.rows())[held.call_id]
    assert (row.outcome, row.cost, row.presumed) == (outcome, 0, False)


async def test_a_presumed_call_is_charged_in_full_until_its_true_cost_is_known(desk: Desk) -> None:
    held = await desk.held(await desk.lease(), 0.4)
    await desk.ledger.settle(ended(held, 0.4, "presumed", presumed=True))
    assert await desk.money() == (0.4, 0.0, 0.4)
    # said again, it changes nothing
    await desk.ledger.settle(ended(held, 0.4, "presumed", presumed=True))
    assert await desk.money() == (0.4, 0.0, 0.4)
    # the true cost replaces it
    assert await desk.ledger.settle(ended(held, 0.15))
    assert await desk.money() == (0.15, 0.0, 0.0)
    assert await desk.ledger.body(held.call_id) is not None


async def test_an_unknown_outcome_is_never_charged_less_than_its_hold(desk: Desk) -> None:
    held = await desk.held(await desk.lease(), 0.4)
    await desk.ledger.settle(ended(held, 0.0, "presumed", presumed=True))
    assert await desk.money() == (0.4, 0.0, 0.4)


async def test_a_complete_reply_of_unknown_cost_is_kept_as_a_reply(desk: Desk) -> None:
    # Given a reply whose provider did not say what it used: charged in full, but complete
    lease = await desk.lease()
    held = await desk.held(lease, 0.4, request="same", query="q")
    await desk.ledger.settle(ended(held, 0.4, "ok", presumed=True))
    assert await desk.money() == (0.4, 0.0, 0.4)
    # When it is asked again, then it is not sent again
    answer = await desk.ledger.hold(desk.intent(lease, 0.4, request="same", query="q"))
    assert not isinstance(answer, Held | Denied)
    assert answer.same_query
    # and a later settlement without a body keeps it
    await desk.ledger.settle(ended(held, 0.4, "presumed", presumed=True))
    assert (await desk.rows())[held.call_id].outcome == "ok"


async def test_a_cost_over_the_hold_is_recorded_in_full_and_halts_the_job(desk: Desk) -> None:
    lease = await desk.lease()
    other = await desk.held(lease, 0.1)
    held = await desk.held(lease, 0.1)
    assert await desk.ledger.settle(ended(held, 7.0)) is False
    assert (await desk.money())[0] == 7.0
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert row.stop == "over_hold"
    answer = await desk.ledger.hold(desk.intent(lease))
    assert isinstance(answer, Denied)
    assert answer.reason == "over_hold"
    # what was in flight is still settled, and a later cancel does not hide the reason
    assert await desk.ledger.settle(ended(other, 0.05))
    await desk.ledger.stop_job(desk.job, "cancelled")
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert row.stop == "over_hold"


async def test_a_target_out_of_reach_ends_all_asking(desk: Desk) -> None:
    lease = await desk.lease()
    await desk.ledger.stop_job(desk.job, "infeasible")
    answer = await desk.ledger.hold(desk.intent(lease))
    assert isinstance(answer, Denied)
    assert answer.reason == "infeasible"
    await desk.ledger.stop_job(desk.job, "cancelled")
    row = await desk.ledger.job(desk.job)
    assert row is not None
    assert row.stop == "infeasible"


async def test_settling_twice_moves_money_once(desk: Desk) -> None:
    held = await desk.held(await desk.lease(), 0.4)
    told = [desk.ledger.settle(ended(held, 0.3)) for _ in range(5)]
    assert await asyncio.gather(*told) == [True] * 5
    assert await desk.ledger.settle(ended(held, 0.1))
    assert await desk.money() == (0.3, 0.0, 0.0)


async def test_holding_twice_sets_money_aside_once(desk: Desk) -> None:
    lease = await desk.lease()
    intent = desk.intent(lease, 0.4)
    answers = await asyncio.gather(*[desk.ledger.hold(intent) for _ in range(5)])
    assert answers == [Held(intent.call_id, 1)] * 5
    assert await desk.money() == (0.0, 0.4, 0.0)


async def test_a_call_id_is_not_used_again(desk: Desk) -> None:
    lease = await desk.lease()
    intent = desk.intent(lease, 0.4)
    held = await desk.held(lease, 0.2, call=intent.call_id)  # the same id for another request
    with pytest.raises(CallEnded):
        await desk.ledger.hold(intent)
    await desk.ledger.settle(ended(held, 0.0, "rate_limited"))
    with pytest.raises(CallEnded):
        await desk.ledger.hold(desk.intent(lease, 0.2, call=intent.call_id))
    assert await desk.money() == (0.0, 0.0, 0.0)


async def test_one_bad_operation_does_not_fail_those_beside_it(desk: Desk) -> None:
    lease = await desk.lease()
    good = [desk.ledger.hold(desk.intent(lease, 0.1)) for _ in range(5)]
    answers = await asyncio.gather(
        *good, desk.ledger.settle(ended(CallId("never held"))), return_exceptions=True
    )
    assert all(isinstance(answer, Held) for answer in answers[:5])
    assert isinstance(answers[5], UnknownCall)


async def test_amounts_below_zero_are_refused(desk: Desk) -> None:
    lease = await desk.lease()
    with pytest.raises(ValueError, match="out of range"):
        await desk.ledger.hold(desk.intent(lease, -1.0))
    held = await desk.held(lease)
    with pytest.raises(ValueError, match="out of range"):
        await desk.ledger.settle(ended(held, -1.0))


async def test_balances_are_the_sums_of_the_journal(desk: Desk) -> None:
    lease = await desk.lease()
    held = [await desk.held(lease, 0.1) for _ in range(5)]
    await desk.ledger.settle(ended(held[0], 0.07))
    await desk.ledger.settle(ended(held[1], 0.1, "presumed", presumed=True))
    await desk.ledger.settle(ended(held[2], 0.0, "rejected"))
    assert await desk.money() == total((await desk.rows()).values())
