"""Worker processes that are killed with kill -9, and a watch on the money while that goes on."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from kombu.connection import Connection

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Account, CallRow, Ledger
from pipeline.settings import Settings
from pipeline.wiring.services import now_ms
from schemas.errors import LedgerUnreachable
from schemas.ids import AccountId, BatchIndex, Generation, JobId
from tests.data import data_file
from tests.end_to_end.command import ROOT, Tierwise
from tests.end_to_end.conftest import write_spec
from tests.faults.worker import Entry, Station, Strike, nursery, read_books, run
from tests.jobs import ladder_spec, recorded
from tests.services import RABBITMQ, REDIS, broker_queue, postgresql_schema
from tests.upstream.client import Upstream
from tests.upstream.meter import MeterLine, read_lines
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
    meter: Path | None = None  # of the upstream; only strikes after a send look there
    threads: int = 4
    running: list[ForkServerProcess] = field(default_factory=list)
    ended: dict[int, float] = field(default_factory=dict)  # pid: when it was gone, on the monotonic clock

    def start(self, processes: int = 1, strike: Strike | None = None) -> ForkServerProcess:
        """The last one of them."""
        assert processes > 0
        station = Station(
            folder=self.place.folder,
            environment=self.place.environment(),
            threads=self.threads,
            strike=strike,
            meter=self.meter,
        )
        for _ in range(processes):
            process = nursery(ROOT).Process(target=run, args=(station,))
            process.start()
            self.running.append(process)
        return process

    def kill(self, process: ForkServerProcess | None = None) -> int:
        """kill -9, by default of the one that has been running for longest; its pid."""
        process = process or self.running[0]
        process.kill()
        return self.bury(process)

    def bury(self, process: ForkServerProcess) -> int:
        """Take a process off the list that is dead, or dies now; its pid."""
        process.join()
        self.running.remove(process)
        pid = process.pid or 0
        self.ended[pid] = time.monotonic()
        process.close()
        return pid

    def stop(self) -> None:
        """Nothing is lost by it, and a warm shutdown takes its time."""
        while self.running:
            self.kill()

    def books(self) -> list[Entry]:
        return read_books(self.place.folder)

    def unsettled(self) -> set[str]:
        """Calls that a living worker has a hold for, as far as it knows, and has not settled."""
        books = self.books()
        over = {entry.call_id for entry in books if entry.event in ("settled", "ended", "unheard")}
        return {
            entry.call_id for entry in books if entry.event == "held" and entry.pid not in self.ended
        } - over

    def said(self, words: str) -> int:
        """How many lines of the workers' log end so."""
        return sum(line.endswith(words) for line in self.log().splitlines())

    def log(self) -> str:
        path = self.place.folder / "workers.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


def stopped(process: ForkServerProcess) -> bool:
    """Whether it is paused."""
    stat = Path(f"/proc/{process.pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def resume(process: ForkServerProcess) -> None:
    signal_to(process, signal.SIGCONT)


def signal_to(process: ForkServerProcess, number: int) -> None:
    with suppress(ProcessLookupError):  # it died meanwhile
        os.kill(process.pid or 0, number)


@contextmanager
def herd(place: Tierwise, processes: int) -> Iterator[Herd]:
    started = Herd(place)
    try:
        if processes:
            started.start(processes)
        yield started
    finally:
        started.stop()


def wait_for(ready: Callable[[], bool], what: str, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.02)


def publish(place: Tierwise, batches: Sequence[int], job: JobId = JOB) -> None:
    """The messages of these batches, once more."""
    settings = Settings(broker=place.settings["TIERWISE_BROKER"], queue=place.settings["TIERWISE_QUEUE"])
    with make_app(settings) as app:
        Dispatch(app).batches(job, ONE, map(BatchIndex, batches))


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
    job: JobId = JOB
    samples: list[tuple[int, Account]] = field(default_factory=list)
    requests: int = 0  # metered so far
    metered: int = 0  # nano-dollars
    closed: bool = False
    _offset: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def check(self, at_least: int = 20) -> None:
        assert len(self.samples) >= at_least
        assert max(account.held for _, account in self.samples) > 0
        assert self.broken() == []

    def broken(self) -> list[tuple[str, int, Account]]:
        """The samples at which an invariant did not hold."""
        return [
            *(("I3", m, a) for m, a in self.samples if m > a.spent + a.held),
            *(("I1", m, a) for m, a in self.samples if a.spent + a.held > a.cap),
        ]

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        ledger = open_ledger(self.place.ledger_url(), clock=now_ms)
        while not self._ended.is_set():
            metered = self._read_meter()
            with suppress(LedgerUnreachable):  # it is restarted: the next look is at another moment
                account = await ledger.account(AccountId(f"job/{self.job}"))
                if account is not None:
                    self.samples.append((metered, account))
                row = await ledger.job(self.job)
                self.closed = row is not None and row.state == "closed"
            await asyncio.sleep(0.05)
        await ledger.close()

    def _read_meter(self) -> int:
        lines, self._offset = read_lines(self.upstream.meter_path, self._offset)
        self.requests += len(lines)
        self.metered += sum(line.nano for line in lines)
        return self.metered


@contextmanager
def watch(upstream: Upstream, place: Tierwise, job: JobId = JOB) -> Iterator[Watch]:
    watching = Watch(upstream, place, job)
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
        return sum(batch.held for batch in (await ledger.totals(JOB, ONE)).values())

    return place._ask(held)


def journal(place: Tierwise, generation: int = 1, job: JobId = JOB) -> dict[str, CallRow]:
    async def calls(ledger: Ledger) -> Sequence[CallRow]:
        return await ledger.calls(job, Generation(generation))

    return {call.call_id: call for call in place._ask(calls)}


def check_rows(place: Tierwise, rows: int = ROWS, job: JobId = JOB) -> dict[str, int]:
    """One row a query; what calls and results cost is what the account spent. Returns the statuses."""
    found = place.rows("SELECT query_id, status FROM results")
    assert len(found) == len({row["query_id"] for row in found}) == rows
    account = place.money(job)
    assert account.held == 0
    assert set(sums(place, job).values()) == {account.spent}
    return dict(Counter(row["status"] for row in found))


def sums(place: Tierwise, job: JobId = JOB) -> dict[str, int]:
    """The job's money as each of its tables has it, in nano-dollars."""
    nano = "(sum(cost_usd)::DECIMAL(28, 9) * 1000000000)::BIGINT"
    tables = {
        name: f"SELECT {nano} FROM {name} WHERE job = '{job}'" for name in ("calls", "call_items", "results")
    }
    tables["jobs"] = f"SELECT (spent_usd::DECIMAL(28, 9) * 1000000000)::BIGINT FROM jobs WHERE job = '{job}'"
    [found] = place.rows("SELECT " + ", ".join(f"({query}) AS {name}" for name, query in tables.items()))
    return found


def check_meter(place: Tierwise, upstream: Upstream, calls: dict[str, CallRow], job: JobId = JOB) -> None:
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
    assert upstream.meter_total_nano() <= place.money(job).spent
