"""Worker processes that are killed with kill -9, and a watch on the money while that goes on."""

import asyncio
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu.connection import Connection

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Account, CallRow, Ledger
from pipeline.settings import Settings
from pipeline.wiring import now_ms
from schemas.ids import AccountId, BatchIndex, Generation, JobId
from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.jobs import ladder_spec, recorded
from tests.services import RABBITMQ, REDIS, broker_queue, postgresql_schema
from tests.upstream.client import Upstream
from tests.upstream.meter import MeterLine
from workers.app import make_app
from workers.dispatch import Dispatch

DATASET, ROWS = "env_claims_en", 265
JOB, ONE = JobId("env"), Generation(1)
BROKERS = {"RabbitMQ": RABBITMQ, "Redis": REDIS}


@contextmanager
def brokered(folder: Path, broker: str = "RabbitMQ", **settings: str) -> Iterator[Tierwise]:
    """A place with a broker and PostgreSQL."""
    with postgresql_schema() as ledger, broker_queue(broker, BROKERS[broker]) as queue:
        places = {"LEDGER": ledger, "BROKER": BROKERS[broker], "QUEUE": queue, **settings}
        yield Tierwise(folder=folder, settings={f"TIERWISE_{name}": value for name, value in places.items()})


def env_claims(place: Tierwise, upstream: Upstream, *, batch: int, slots: int, **tier: Any) -> str:
    """The spec of 265 queries, some of which climb all three tiers."""
    source = recorded(data_file("outcomes_textclass_en.parquet"), f"textclass/{DATASET}", place.folder)
    spec = ladder_spec(source, upstream.url, name=JOB, usd="1")
    spec["input"]["batch"]["rows"] = batch
    for each in spec["tiers"]:
        each.update({"max_concurrency": slots, **tier})
    return write_spec(place, spec)


@dataclass
class Herd:
    """Worker processes of one place."""

    place: Tierwise
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, processes: int = 1, threads: int = 4) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "jobs.cli", "worker", "--threads", str(threads)]
            for _ in range(processes):
                self.running.append(
                    subprocess.Popen(
                        command, cwd=self.place.folder, env=self.place.environment(), stdout=log, stderr=log
                    )
                )

    def kill(self) -> None:
        """kill -9 of the one that has been running for longest."""
        process = self.running.pop(0)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Nothing is lost by it, and a warm shutdown takes its time."""
        while self.running:
            self.kill()

    def said(self, words: str) -> int:
        """How many lines of the workers' log end so."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return sum(line.endswith(words) for line in lines)

    @property
    def _log(self) -> Path:
        return self.place.folder / "workers.log"


@contextmanager
def herd(place: Tierwise, processes: int) -> Iterator[Herd]:
    started = Herd(place)
    try:
        started.start(processes)
        yield started
    finally:
        started.stop()


def wait_for(ready: Callable[[], bool], what: str, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.02)


def publish(place: Tierwise, batches: Sequence[int]) -> None:
    """The messages of these batches, once more."""
    settings = Settings(broker=place.settings["TIERWISE_BROKER"], queue=place.settings["TIERWISE_QUEUE"])
    with make_app(settings) as app:
        Dispatch(app).batches(JOB, ONE, map(BatchIndex, batches))


def purge(place: Tierwise) -> int:
    """Lose all messages; returns how many there were."""
    with Connection(place.settings["TIERWISE_BROKER"]) as connection:
        lost: int = connection.default_channel.queue_purge(place.settings["TIERWISE_QUEUE"])
        return lost


@dataclass
class Watch:
    """Reads the meter, then the ledger, over and over: what is metered was held before."""

    upstream: Upstream
    place: Tierwise
    samples: list[tuple[int, Account]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def check(self, at_least: int = 20) -> None:
        assert len(self.samples) >= at_least
        assert max(account.held for _, account in self.samples) > 0
        for metered, account in self.samples:
            assert metered <= account.spent + account.held, "I3"
            assert account.spent + account.held <= account.cap, "I1"

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        ledger = open_ledger(self.place.ledger_url(), clock=now_ms)
        while not self._ended.is_set():
            metered = self.upstream.meter_total_nano()
            account = await ledger.account(AccountId(f"job/{JOB}"))
            if account is not None:
                self.samples.append((metered, account))
            await asyncio.sleep(0.05)
        await ledger.close()


@contextmanager
def watch(upstream: Upstream, place: Tierwise) -> Iterator[Watch]:
    watching = Watch(upstream, place)
    thread = threading.Thread(target=watching.run)
    thread.start()
    try:
        yield watching
    finally:
        watching._ended.set()
        thread.join()


def in_flight(place: Tierwise) -> int:
    """Calls of the job that the ledger holds money for at this moment."""

    async def held(ledger: Ledger) -> int:
        return (await ledger.totals(JOB, ONE)).held

    return place._ask(held)


def journal(place: Tierwise, generation: int = 1) -> dict[str, CallRow]:
    async def calls(ledger: Ledger) -> Sequence[CallRow]:
        return await ledger.calls(JOB, Generation(generation))

    return {call.call_id: call for call in place._ask(calls)}


def check_rows(place: Tierwise) -> dict[str, int]:
    """One row a query; what calls and results cost is what the account spent. Returns the statuses."""
    found = place.rows("SELECT query_id, status FROM results")
    assert len(found) == len({row["query_id"] for row in found}) == ROWS
    nano = "(sum(cost_usd) * 1000000000)::BIGINT"
    [sums] = place.rows(
        f"SELECT (SELECT {nano} FROM calls) AS calls, (SELECT {nano} FROM results) AS results, "
        "(SELECT (spent_usd * 1000000000)::BIGINT FROM jobs) AS job"
    )
    account = place.money(JOB)
    assert account.held == 0
    assert sums == {"calls": account.spent, "results": account.spent, "job": account.spent}
    statuses = [row["status"] for row in found]
    return {status: statuses.count(status) for status in set(statuses)}


def check_meter(place: Tierwise, upstream: Upstream, calls: dict[str, CallRow]) -> None:
    """Line by line: every bill is in the ledger, in full; once a reply was settled, nothing equal was sent."""
    sent: dict[bytes, list[tuple[MeterLine, CallRow]]] = defaultdict(list)
    for line in upstream.meter_lines():
        call = calls[str(line.key)]
        if call.outcome in ("presumed", "malformed"):  # nobody knows, or the reply does not say: in full
            assert line.nano <= call.cost == call.held
        else:
            assert line.nano == call.cost
        sent[call.request_hash].append((line, call))
    for pairs in sent.values():
        complete = [number for number, (_, call) in enumerate(pairs) if not call.presumed]
        assert complete in ([], [len(pairs) - 1]), pairs
    assert upstream.meter_total_nano() <= place.money(JOB).spent
