"""Upstreams that processes share: permits within the limit, trouble told to everybody."""

import asyncio
import multiprocessing
from itertools import pairwise
from multiprocessing.synchronize import Barrier

from pipeline.ledger.sql.ledger import SqlLedger
from pipeline.ports.ledger import Draw, Drawn, Ledger, Pacing
from pipeline.wiring.services import now_ms

COST, PROCESSES, SECONDS = 10_000, 4, 3  # 100 calls a second
NOW = 1_700_000_000_000


async def test_permits_are_drawn_from_one_line(ledger: Ledger, name: str) -> None:
    drawn = await asyncio.gather(
        *[ledger.draw(name, Draw(permits=3, cost=COST), NOW) for _ in range(4)],
        ledger.draw(f"{name} other", Draw(permits=3, cost=COST), NOW),
    )
    *mine, other = drawn
    assert sorted(at for each in mine for at in times(each)) == [NOW * 1000 + COST * n for n in range(12)]
    assert other.start == NOW * 1000
    assert (await ledger.draw(name, Draw(permits=3, cost=COST), NOW + 1_000)).start == (NOW + 1_000) * 1000


async def test_trouble_is_told_to_everybody(ledger: Ledger, name: str) -> None:
    assert (await ledger.draw(name, Draw(permits=1), NOW)).free
    await ledger.draw(name, Draw(limited=1, limited_at=NOW, answered_at=NOW, pause=1_000), NOW)
    told = await ledger.draw(name, Draw(permits=1), NOW + 1)
    assert (told.permits, told.free) == (0, False)
    await ledger.draw(name, Draw(failed=9, problem="HTTP 503"), NOW + 2)
    told = await ledger.draw(name, Draw(permits=1), NOW + 3)
    assert (told.permits, told.parked_at, told.problem) == (0, NOW + 2, "HTTP 503")
    # And it can be looked up
    row = await ledger.pacing(name)
    assert row is not None
    assert (row.limited, row.parked_at, row.problem) == (1, NOW + 2, "HTTP 503")
    assert await ledger.pacing(f"{name} other") in (None, Pacing())


async def test_one_of_many_probes(ledger: Ledger, name: str) -> None:
    await ledger.draw(name, Draw(failed=9), NOW)
    later = NOW + 1_000
    told = await asyncio.gather(*[ledger.draw(name, Draw(permits=5), later) for _ in range(8)])
    assert sum(each.permits for each in told) == 1
    await ledger.draw(name, Draw(answered=1, answered_at=later), later + 5)
    assert (await ledger.draw(name, Draw(permits=5), later + 6)).free


async def test_four_processes_stay_within_a_limit_and_use_it(durable_url: str, name: str) -> None:
    """Over any window, whoever drew them: never two permits closer than the limit says."""
    ledger = SqlLedger(durable_url)
    await ledger.probe()
    await ledger.close()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[int]] = context.Queue()
    ready = context.Barrier(PROCESSES)
    workers = [
        context.Process(target=worker, args=(durable_url, name, ready, results)) for _ in range(PROCESSES)
    ]
    for process in workers:
        process.start()
    told = [await asyncio.to_thread(results.get, True, 60) for _ in workers]
    for process in workers:
        await asyncio.to_thread(process.join, 10)
        assert process.exitcode == 0
    permits = sorted(at for each in told for at in each)
    assert all(second - first >= COST for first, second in pairwise(permits))
    assert sum(bool(each) for each in told) > 1
    assert len(permits) > 20


def worker(url: str, name: str, ready: Barrier, results: "multiprocessing.Queue[list[int]]") -> None:
    ready.wait(60)
    results.put(asyncio.run(draw_on(url, name)))


async def draw_on(url: str, name: str) -> list[int]:
    """Permits of a process that always wants more."""
    ledger = SqlLedger(url)
    permits: list[int] = []
    until = now_ms() + SECONDS * 1000
    while now_ms() < until:
        permits += times(await ledger.draw(name, Draw(permits=20, cost=COST), now_ms()))
        await asyncio.sleep(0.02)
    await ledger.close()
    return permits


def times(drawn: Drawn) -> list[int]:
    return [drawn.start + number * drawn.step for number in range(drawn.permits)]
