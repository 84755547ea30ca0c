"""Two beats, and a worker killed between an occurrence and its job: each occurrence is one job all the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

import pytest

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import JobRow, Ledger
from pipeline.ports.schedules import Occurrence
from pipeline.wiring.services import now_ms
from tests.end_to_end.command import Tierwise, kill_when, workers
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_schedule import NIGHTLY, look_back, spec_of
from tests.services import RABBITMQ, broker_queue, postgresql_schema

T = TypeVar("T")
NIGHTS = 2


def ask(place: Tierwise, question: Callable[[Ledger], Awaitable[T]]) -> T:
    async def run() -> T:
        ledger = open_ledger(place.ledger_url(), clock=now_ms)
        try:
            return await question(ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


def occurrences(place: Tierwise) -> list[Occurrence]:
    return ask(place, lambda ledger: ledger.schedules.occurrences("nightly", 100))


def jobs(place: Tierwise) -> list[JobRow]:
    return ask(place, lambda ledger: ledger.jobs())


def wait_for(look: Callable[[], list[T]], count: int, timeout: float = 150) -> list[T]:
    """What is there once there is so much of it."""
    end = time.monotonic() + timeout
    while len(found := look()) < count:
        assert time.monotonic() < end, f"{found} is all there is"
        time.sleep(0.3)  # other processes work
    return found


@pytest.mark.timeout(280)
def test_each_night_is_one_job_whoever_fires_and_dies(place: Tierwise) -> None:
    with (
        postgresql_schema() as ledger,
        broker_queue("RabbitMQ", RABBITMQ) as queue,
        ExitStack() as stopping,
    ):
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue}
        place = Tierwise(folder=place.folder, settings=settings)
        # Given two nights to catch up with, of an input that takes a while to read for its two rows
        noise = "".join(f"{number},noise,no\n" for number in range(10, 150_000))
        (place.folder / "mails.csv").write_text(f"id,text,keep\n1,An invoice.,yes\n2,A refund.,yes\n{noise}")
        source = {"path": "mails.csv", "id": "id", "where": {"keep": "yes"}}
        schedule = {"cron": NIGHTLY, "missed": "catch_up"}
        tierwise(place, "schedule", "add", spec_of(place, input=source, schedule=schedule))
        look_back(place, NIGHTS)
        # When two beats tick, and the first worker is killed with an occurrence entered and no job made of it
        for _ in range(2):
            beat = place.start("beat", "--every", "1")
            stopping.callback(beat.communicate)
            stopping.callback(beat.terminate)
        first = place.start("worker", "--threads", "4")
        kill_when(first, lambda: any(each.state == "due" for each in occurrences(place)), timeout=120)
        assert jobs(place) == []
        # Then two others make one job of each night, in turn
        with workers(place, 2):
            closed = wait_for(lambda: [row.job for row in jobs(place) if row.state == "closed"], NIGHTS)
            time.sleep(3)  # a few more ticks
        found = occurrences(place)
        assert [each.state for each in found] == ["submitted"] * NIGHTS
        assert sorted(each.job or "" for each in found) == sorted(closed)
        assert sorted(row.job for row in jobs(place)) == sorted(closed)
        assert place.rows("SELECT count(*) AS n FROM results WHERE status = 'answered'") == [
            {"n": 2 * NIGHTS}
        ]
