"""I1, I3, I4 and I5 over small jobs whose provider and whose processes do as they like."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.close import close_generation
from pipeline.resume import resume
from schemas.ids import Nano
from tests.faults.desk import BOUND, LEASE_MS, Desk, Meter, Process, Said, until_it_ends
from workers.inline import work_inline

KINDS = ("ok", "ok", "silent", "malformed", "cut", "server_error", "rate_limited", "unreachable")
said = st.builds(Said, st.sampled_from(KINDS), st.integers(0, BOUND))
overbilled = st.builds(Said, st.just("ok"), st.integers(BOUND + 1, 3 * BOUND))
scripts = st.lists(st.one_of(said, said, said, said, overbilled), min_size=1, max_size=12)
batches = st.lists(
    st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)
deaths = st.lists(st.tuples(st.sampled_from(["dies_at", "cancelled_at"]), st.integers(1, 90)), max_size=3)
PAYING: list[Any] = [
    {"name": "self-consistency", "tier": "t0", "samples": 2, "band": None},
    {"name": "model-graded", "tier": "t0", "order": "both"},  # the provider's answer is no verdict
]
judges = st.sampled_from([[], PAYING])


# A cancel between a thread's start and its end leaves a scratch folder to the collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=batches,
    script=scripts,
    cap=st.integers(0, 40) | st.just(1000),
    tiers=st.integers(1, 2),
    duplicates=st.sampled_from(["once", "each"]),
    judges=judges,
    deaths=deaths,
)
def test_whatever_happens_money_and_rows_are_right(**drawn: Any) -> None:
    asyncio.run(play(**drawn))


async def play(
    batches: list[list[str]],
    script: list[Said],
    cap: int,
    tiers: int,
    duplicates: str,
    judges: list[Any],
    deaths: list[tuple[str, int]],
) -> None:
    # Given a job under a cap of that many calls, at a provider that does as the script says, over and over
    meter = Meter(script=lambda number: script[number % len(script)])
    desk = Desk(meter=meter)
    meter.look = desk.check_money
    source = {"path": "documents.csv", "duplicates": duplicates}
    await desk.open(batches, cap=cap * BOUND, tiers=tiers, input=source, judges=["valid", *judges])
    queries = sum(map(len, batches))
    # When processes work on it one after the other, each killed or cancelled somewhere, the last to the end
    for name, step in deaths:
        await work(desk, Process(**{name: step}), len(batches))
        await desk.check_money()
    await work(desk, Process(), len(batches))
    # Then the money is right, and every query has its row
    await desk.check_closed(queries)
    # And in a further generation, with more money, too
    services = (await desk.start()).services
    _, again = await resume(services, (await desk.row()).job, Nano(50 * BOUND))
    if again:
        await work(desk, Process(), len(batches))
        await desk.check_closed(queries)


async def work(desk: Desk, process: Process, in_flight: int) -> None:
    desk.now += 3 * LEASE_MS
    job = await desk.start()

    async def run() -> None:
        mine = await desk.start(process)
        row = await work_inline(mine, in_flight=in_flight)
        assert await close_generation(job, row.generation)

    await asyncio.wait_for(until_it_ends(process, run), 60)
