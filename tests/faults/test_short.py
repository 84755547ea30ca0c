"""The end at the cap: where the money goes that does not suffice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.cascade import purse
from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Ledger
from pipeline.resume import resume
from pipeline.router.policies.fixed_ladder import FixedLadder
from pipeline.work import Timing
from schemas.ids import BatchIndex, Generation, Nano, TierName
from schemas.records import Assignment, Pin, Plan, Query
from tests.faults.desk import JOB, LEASE_MS, Desk, Process, tier, until_it_ends
from tests.faults.short import ByTier, Terms, cut, start
from tests.services import postgresql_schema
from workers.inline import work_inline

TEXTS = [f"text {number:03}" for number in range(40)]
SURE = {text: 0.02 * number for number, text in enumerate(TEXTS)}  # the later, the surer


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    if request.param == "postgresql":
        with postgresql_schema() as url:
            opened = open_ledger(url, lambda: 1_000_000)
            yield opened
            await opened.close()
        return
    opened = open_ledger(
        "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/l.db", lambda: 1_000_000
    )
    yield opened
    await opened.close()


def escalating(hold: int = 1000, cost: int = 1000) -> ByTier:
    """A cheap tier that is sure of some and less of others, and one that costs ten times as much."""
    first = {("t0", text): Terms(hold=100, cost=100, sure=sure) for text, sure in SURE.items()}
    return ByTier({**first, ("t1", "*"): Terms(hold=hold, cost=cost, sure=0.9)})


async def test_all_get_the_cheap_answer_and_the_least_sure_go_on(ledger: Ledger) -> None:
    # Given money for every cheap call and for ten of the forty dear ones, in a file that has the surest first
    terms = escalating()
    desk = await Desk(ledger=ledger).open([TEXTS[::-1]], cap=4_000 + 10_000, **two())
    # When the job runs
    await work_inline(await start(desk, terms))
    # Then the ten least sure were asked again, and all others keep their cheap answer, deferred
    await desk.check_closed(40)
    assert sorted(terms.texts("t0")) == TEXTS
    assert sorted(terms.texts("t1")) == TEXTS[:10]
    results = desk.table("results")
    assert Counter((each["status"], each["tier"]) for each in results) == {
        ("answered", "t1"): 10,
        ("deferred", "t0"): 30,
    }
    assert all(each["answer"] == "a" for each in results)
    assert all("$0.000001" in each["reason"] for each in results if each["status"] == "deferred")


async def test_judges_are_reckoned_with_and_kept_from_no_answer() -> None:
    # Given money for three answers with both their verdicts, and for one more without
    terms, judge = ByTier(), {"name": "model-graded", "tier": "t0", "order": "both"}
    desk = await Desk().open([TEXTS[:6]], cap=1_000, tiers=[tier(0)], judges=["valid", judge])
    # When the job runs
    await work_inline(await start(desk, terms))
    # Then all of it is spent, and four have an answer
    await desk.check_closed(6)
    statuses = Counter(each["status"] for each in desk.table("results"))
    assert statuses == {"answered": 4, "deferred": 2}
    assert (await desk.account()).spent == 1_000
    asked = Counter((call.purpose, call.outcome) for call in await desk.calls())
    assert asked == {("answer", "ok"): 4, ("judge", "ok"): 6}


async def test_first_come_goes_by_the_file() -> None:
    terms = escalating()
    budget = {"usd": "1", "when_short": "first_come"}
    desk = await Desk().open([TEXTS[::-1]], cap=14_000, **two(budget=budget))
    await work_inline(await start(desk, terms))
    await desk.check_closed(40)
    assert not set(terms.texts("t1")) & set(TEXTS[:10])


@pytest.mark.parametrize("cap", [10**9, 60_000])
async def test_with_ample_money_nobody_waits(cap: int) -> None:
    # Given money for all that could be held; or only for what it comes to, once the first batch has shown that
    terms = escalating(hold=6000)
    desk = await Desk().open(cut(TEXTS, 2), cap=cap, **two())
    await work_inline(await start(desk, terms), in_flight=1)
    await desk.check_closed(40)
    # Then the second batch's dear calls do not wait for its last cheap one
    second = [tier for tier, text in terms.asked if text in TEXTS[20:]]
    assert second.index("t1") < 19
    assert {each["status"] for each in desk.table("results")} == {"answered"}


class CheapAlone(FixedLadder):
    """Believes every valid answer of the cheap tier; the dear one is there for the others."""

    def plan(self, queries: Sequence[Query], assigned: Sequence[Assignment], pin: Pin) -> list[Plan]:
        plans = super().plan(queries, assigned, pin)
        return [msgspec.structs.replace(plan, accept=(0.0, 0.8)) for plan in plans]


async def test_money_for_the_tiers_that_plans_believe_is_ample(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given money for every cheap call, none for dear ones, and plans that believe the cheap tier
    terms = escalating()
    desk = await Desk().open([TEXTS], cap=4_000, **two())

    def chosen(*_: Any) -> Any:
        raise AssertionError("calls compete for money")

    monkeypatch.setattr(purse, "choose", chosen)
    # When the job runs
    names = [TierName("t0"), TierName("t1")]
    work = replace(await start(desk, terms), policy=CheapAlone(names, [0.8, 0.8], lambda assignment: None))
    await work_inline(work)
    # Then no call competes with another, and all are answered
    assert {each["status"] for each in desk.table("results")} == {"answered"}
    assert not terms.texts("t1")


async def test_exactly_what_the_cap_pays_for_is_bought(ledger: Ledger) -> None:
    # Given 1,000 queries at $0.10 under a cap of $5, price equal to hold, eight batches at once
    terms = ByTier(default=Terms(hold=10**8, cost=10**8))
    texts = [f"text {number}" for number in range(1000)]
    desk = await Desk(ledger=ledger).open(cut(texts, 8), cap=5 * 10**9, tiers=1)
    await asyncio.wait_for(work_inline(await start(desk, terms), in_flight=8), 60)
    # Then fifty are paid, and every other query is deferred
    await desk.check_closed(1000)
    assert len(terms.asked) == 50
    assert Counter(each["status"] for each in desk.table("results")) == {"answered": 50, "deferred": 950}


@pytest.mark.parametrize(("batches", "left"), [(1, 600), (3, 600), (8, 600), (300, 2000)])
async def test_with_holds_far_above_costs_all_that_fits_is_bought(batches: int, left: int) -> None:
    # Given holds six times what calls come to
    terms = ByTier(default=Terms(hold=600, cost=100))
    texts = [f"text {number}" for number in range(300)]
    desk = await Desk().open(cut(texts, batches), cap=10_000, tiers=1)
    await asyncio.wait_for(work_inline(await start(desk, terms), in_flight=8), 60)
    await desk.check_closed(300)
    # Then no more than a hold is left; somewhat more, where most batches are too small for their part to buy anything
    assert 10_000 - left < (await desk.account()).spent <= 10_000


async def test_a_batch_takes_no_more_than_its_part_though_it_comes_first() -> None:
    # Given five equal batches, one after the other, and half the money
    terms = escalating()
    texts = [text for text in TEXTS for _ in range(1)]
    desk = await Desk().open([texts[part::5] for part in range(5)], cap=24_000, **two())
    await work_inline(await start(desk, terms), in_flight=1)
    await desk.check_closed(40)
    paid = Counter(each["batch"] for each in desk.table("results") if each["status"] == "answered")
    assert set(paid.values()) == {4}


async def test_what_a_batch_does_not_need_goes_to_the_others() -> None:
    # Given a batch that its first tier answers for good, and one that wants more than half of the money
    terms = escalating()
    sure = {("t0", f"sure {number}"): Terms(hold=100, cost=100, sure=1.0) for number in range(20)}
    terms.terms = {**terms.terms, **sure}
    desk = await Desk().open([[text for _, text in sure], TEXTS[:20]], cap=4_000 + 18_000, **two(accept=0.99))
    await asyncio.wait_for(work_inline(await start(desk, terms), in_flight=2), 60)
    await desk.check_closed(40)
    assert sorted(terms.texts("t1")) == TEXTS[:18]


async def test_resume_buys_only_what_is_missing(ledger: Ledger) -> None:
    # Given a job that ended short
    terms = escalating()
    desk = await Desk(ledger=ledger).open(cut(TEXTS, 4), cap=14_000, **two())
    await work_inline(await start(desk, terms))
    await desk.check_closed(40)
    deferred = [each["query_id"] for each in desk.table("results") if each["status"] == "deferred"]
    assert len(deferred) == 30
    terms.asked.clear()
    # When money for some of the rest is added: less than a batch's cheap calls and dear ones would come to
    services = (await desk.start()).services
    assert (await resume(services, JOB, Nano(5_000)))[1] == 30
    await work_inline(await start(desk, terms))
    # Then the cheap answers come from the journal, whoever asked for them, and only dear ones are paid
    await desk.check_closed(40)
    assert (terms.texts("t0"), len(terms.texts("t1"))) == ([], 5)
    results = desk.table("results")
    assert Counter(each["status"] for each in results) == {"answered": 15, "deferred": 25}
    assert all(each["answer"] == "a" for each in results)
    # And where not even one call can be paid, nothing is lost
    assert (await resume(services, JOB, Nano(50)))[1] == 25
    await work_inline(await start(desk, terms))
    await desk.check_closed(40)
    assert all(each["answer"] == "a" for each in desk.table("results"))
    # And with enough, none is left, at the price of the whole
    assert (await resume(services, JOB, Nano(30_000)))[1] == 25
    await work_inline(await start(desk, terms))
    await desk.check_closed(40)
    assert {each["status"] for each in desk.table("results")} == {"answered"}
    assert (await desk.account()).spent == 44_000
    assert len(await desk.calls(generation=4)) == 25


@pytest.mark.parametrize("dies_at", [40, 120, 250, 400, 600])
async def test_a_killed_batch_keeps_what_was_paid_for(dies_at: int) -> None:
    # Given a short job whose process dies somewhere
    terms = escalating()
    desk = await Desk().open(cut(TEXTS, 2), cap=14_000, **two())
    desk.meter.look = desk.check_money
    process = Process(dies_at=dies_at)
    work = await start(desk, terms, process)
    await until_it_ends(process, lambda: work_inline(work))
    paid = {call.query_id for call in await desk.calls() if call.outcome == "ok"}
    # When another takes up its batches
    desk.now += 2 * LEASE_MS
    await asyncio.wait_for(work_inline(await start(desk, terms)), 60)
    # Then no answer that was paid for is lost or bought again
    assert await close_generation(await desk.start(), Generation(1))
    await desk.check_closed(40)
    results = {each["query_id"]: each for each in desk.table("results")}
    assert all(results[query]["answer"] == "a" for query in paid)
    assert (await desk.account()).spent > 14_000 - 1000


async def test_equal_texts_are_worth_one_call() -> None:
    # Given each text three times, and money for half the texts
    terms = escalating()
    desk = await Desk().open([TEXTS * 3], cap=4_000 + 20_000, **two())
    await asyncio.wait_for(work_inline(await start(desk, terms), in_flight=1), 60)
    await desk.check_closed(120)
    assert len(terms.asked) == len(set(terms.asked))
    by_text = Counter(each["status"] for each in desk.table("results"))
    assert by_text == {"answered": 60, "deferred": 60}


async def test_when_its_time_is_up_those_who_wait_yield() -> None:
    # Given a short batch whose time is up while its cheap calls are in flight
    terms = escalating()
    desk = await Desk(timing=Timing(lease=90, batch=0)).open([TEXTS[:4]], cap=1_300, **two())

    async def slow() -> None:
        await asyncio.sleep(0.1)

    desk.meter.look = slow
    taken = take_batch(await start(desk, terms), Generation(1), BatchIndex(0))
    # When they have come back, then nobody is sent away for want of money yet
    assert (await asyncio.wait_for(taken, 60))[0] == "yielded"
    assert (terms.texts("t1"), (await desk.account()).held) == ([], 0)
    # And the next holder goes on where it ended
    desk.timing, desk.meter.look = Timing(lease=LEASE_MS), None
    await work_inline(await start(desk, terms))
    await desk.check_closed(4)
    assert (len(terms.texts("t0")), len(terms.texts("t1"))) == (4, 0)


def two(*, accept: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"tiers": [tier(0, trust=0.5, accept=accept), tier(1, trust=0.9)], **more}
