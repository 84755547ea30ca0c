"""Messages that were lost: the sweeper publishes them again, from the ledger's truth and not too often."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from pipeline.close import close_generation
from pipeline.flow import take_batch
from schemas.ids import BatchIndex, Generation, JobId
from tests.faults.desk import JOB, LEASE_MS, Desk, Died, Process
from workers.dispatch import Dispatch
from workers.sweeper import sweep

ONE = Generation(1)


class Published:
    """Takes what would go to the broker."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def batches(self, job: JobId, generation: Generation, batches: Iterable[BatchIndex]) -> None:
        self.said += [(job, generation, batch) for batch in batches]

    def close(self, job: JobId, generation: Generation) -> None:
        self.said.append((job, generation, "close"))


async def swept(desk: Desk, after_ms: int) -> list[Any]:
    """What a sweeper publishes that much later."""
    desk.now += after_ms
    published = Published()
    await sweep((await desk.start()).services, cast(Dispatch, published))
    return published.said


async def test_batches_nobody_ever_took_are_published_again() -> None:
    # Given a job in the ledger whose messages never reached a broker
    desk = await Desk().open([["one"], ["two"]])
    # Then it is given ten times the quiet time, then published, then left in peace as long again
    assert await swept(desk, 9 * LEASE_MS) == []
    assert await swept(desk, LEASE_MS) == [(JOB, 1, 0), (JOB, 1, 1)]
    assert await swept(desk, 9 * LEASE_MS) == []
    assert await swept(desk, LEASE_MS) == [(JOB, 1, 0), (JOB, 1, 1)]


async def test_a_batch_whose_holder_died_is_published_again() -> None:
    # Given one batch that is committed and one whose holder died
    desk = await Desk().open([["one"], ["two"]])
    await take_batch(await desk.start(), ONE, BatchIndex(0))
    with pytest.raises(Died):
        await take_batch(await desk.start(Process(dies_at="billed")), ONE, BatchIndex(1))
    # Then it is published once its lease ran out, and never while a lease runs
    assert await swept(desk, LEASE_MS - 1) == []
    assert await swept(desk, LEASE_MS) == [(JOB, 1, 1)]
    # And when all are committed, the closing is
    await take_batch(await desk.start(), ONE, BatchIndex(1))
    assert await swept(desk, LEASE_MS) == [(JOB, 1, "close")]
    assert await close_generation(await desk.start(), ONE)
    assert await swept(desk, LEASE_MS) == []
    await desk.check_closed(2)


async def test_one_sweeper_at_a_time() -> None:
    # Given a job that waits to be closed, and three workers that sweep at the same time
    desk = await Desk().open([["one"]])
    await take_batch(await desk.start(), ONE, BatchIndex(0))
    said = [await swept(desk, 0) for _ in range(3)]
    # Then one of them publishes its closing, and the next one when the sweeper's lease ran out
    assert said == [[(JOB, 1, "close")], [], []]
    assert await swept(desk, LEASE_MS) == [(JOB, 1, "close")]
