"""Whatever calls cost and promise, in whatever order things happen: the cap holds, every query ends, and money that
could still buy a call is not left over."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.close import close_generation
from schemas.ids import Generation
from tests.faults.desk import LEASE_MS, Desk, Process, tier, until_it_ends
from tests.faults.short import ByTier, Terms, cut, start
from workers.inline import work_inline

ROWS = 12
TIERS = ("t0", "t1", "t2")
costs = st.integers(0, 100).flatmap(
    lambda hold: st.builds(Terms, hold=st.just(hold), cost=st.integers(0, hold), sure=st.floats(0.01, 0.99))
)
tables = st.lists(costs, min_size=len(TIERS) * ROWS, max_size=len(TIERS) * ROWS)
trusts = st.lists(st.floats(0.05, 0.95), min_size=len(TIERS), max_size=len(TIERS))
accepts = st.sampled_from([0.3, 0.8, 1.0])


def terms_of(table: list[Terms]) -> ByTier:
    texts = [f"text {number}" for number in range(ROWS)]
    places = [(name, text) for name in TIERS for text in texts]
    return ByTier(dict(zip(places, table, strict=True)))


async def opened(
    terms: ByTier, batches: int, cap: int, trust: list[float], accept: float, slots: int
) -> Desk:
    desk = Desk()
    desk.meter.look = desk.check_money
    listed = [
        tier(number, trust=each, accept=accept, max_concurrency=slots) for number, each in enumerate(trust)
    ]
    texts = sorted({text for _, text in terms.terms})
    return await desk.open(cut(texts, batches), cap=cap, tiers=listed)


# A cancel between a thread's start and its end leaves a scratch folder to the collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    table=tables, batches=st.integers(1, 5), cap=st.integers(0, 1200), trust=trusts, accept=accepts,
    slots=st.integers(1, 4), in_flight=st.integers(1, 4),
    deaths=st.lists(st.tuples(st.sampled_from(["dies_at", "cancelled_at"]), st.integers(1, 250)), max_size=2),
)  # fmt: skip
def test_the_cap_holds_and_every_query_ends(**drawn: Any) -> None:
    asyncio.run(play(**drawn))


async def play(
    table: list[Terms], batches: int, cap: int, trust: list[float], accept: float, slots: int, in_flight: int,
    deaths: list[tuple[str, int]],
) -> None:  # fmt: skip
    # Given a job with any prices and any certainties
    terms = terms_of(table)
    desk = await opened(terms, batches, cap, trust, accept, slots)
    # When processes work on it one after the other, each killed or cancelled somewhere, the last to the end
    for process in [*(Process(**{name: step}) for name, step in deaths), Process()]:
        desk.now += 3 * LEASE_MS
        work = await start(desk, terms, process)
        job = await desk.start()

        async def run(work: Any = work, job: Any = job) -> None:
            row = await work_inline(work, in_flight=in_flight)
            assert await close_generation(job, row.generation)

        await asyncio.wait_for(until_it_ends(process, run), 30)
        await desk.check_money()
    # Then every query has its one row, the books agree, and what was answered was not asked again
    await desk.check_closed(ROWS)
    answered = {call.query_id for call in await desk.calls() if call.outcome == "ok"}
    results = {each["query_id"]: each for each in desk.table("results")}
    assert all(results[query]["answer"] == "a" for query in answered)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(table=tables, cap=st.integers(0, 1200), trust=trusts, accept=accepts, slots=st.integers(1, 4))
def test_a_batch_alone_leaves_no_money_that_could_buy_a_call(**drawn: Any) -> None:
    asyncio.run(alone(**drawn))


async def alone(table: list[Terms], cap: int, trust: list[float], accept: float, slots: int) -> None:
    terms = terms_of(table)
    desk = await opened(terms, 1, cap, trust, accept, slots)
    await asyncio.wait_for(work_inline(await start(desk, terms)), 30)
    await desk.check_closed(ROWS)
    assert await close_generation(await desk.start(), Generation(1))
    account = await desk.account()
    texts = {each["query_id"]: each["text"] for each in desk.table("documents")}
    asked = set(terms.asked)
    for each in desk.table("results"):
        if each["status"] == "deferred":
            text = texts[each["query_id"]]
            following = next(name for name in TIERS if (name, text) not in asked)
            assert account.spent + terms.of(following, text).hold > cap
