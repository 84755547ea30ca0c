"""Worker processes, an upstream and one ledger, on which jobs under a tight cap are played and watched."""

import asyncio
import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Account, CallRow, Ledger
from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, now_ms, open_services
from schemas.ids import AccountId, BatchIndex, Generation, JobId
from tests.end_to_end.command import Tierwise
from tests.faults.herd import Herd, brokered, herd, wait_for
from tests.services import REDIS, broker_queue
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from
from tests.upstream.meter import MeterLine, read_lines
from workers.app import make_app
from workers.dispatch import Dispatch

ONE = Generation(1)
LEASE_S = "6"
Database = Literal["PostgreSQL", "SQLite"]
Prices = Mapping[str, Mapping[str, str]]  # model -> class -> USD
THREADS = Herd.threads  # batches in flight per worker


@dataclass(frozen=True, kw_only=True)
class Stage:
    database: Database
    processes: int
    place: Tierwise
    upstream: Upstream
    workers: Herd

    def submit(self, specs: Sequence[str]) -> None:
        """Enter the jobs of these spec files (their names are their ids), then publish their batches in turn."""
        places = self.place.environment()
        settings = Settings(
            lake=places["TIERWISE_LAKE"],
            ledger=self.place.ledger_url(),
            broker=places["TIERWISE_BROKER"],
            queue=places["TIERWISE_QUEUE"],
        )
        batches = asyncio.run(_enter(settings, specs))
        with make_app(settings) as app:
            for index in range(max(batches.values())):
                for job in (job for job, count in batches.items() if index < count):
                    Dispatch(app).batches(job, ONE, [BatchIndex(index)])

    def are_closed(self, jobs: Sequence[str]) -> bool:
        async def closed(ledger: Ledger) -> bool:
            rows = [await ledger.job(JobId(job)) for job in jobs]
            return all(row is not None and row.state == "closed" for row in rows)

        return self.place._ask(closed)

    def account(self, account: str) -> Account:
        async def read(ledger: Ledger) -> Account | None:
            return await ledger.account(AccountId(account))

        found = self.place._ask(read)
        assert found is not None, account
        return found

    def calls(self, job: str) -> Sequence[CallRow]:
        async def read(ledger: Ledger) -> Sequence[CallRow]:
            return await ledger.calls(JobId(job), ONE)

        return self.place._ask(read)

    def lines(self, jobs: Sequence[str]) -> list[MeterLine]:
        """What the meter says of the models of these jobs: each job has one of its own, named as the job."""
        return [line for line in self.upstream.meter_lines() if line.model in jobs]

    def kill(self, jobs: Sequence[str], marks: Sequence[int], rng: random.Random) -> int:
        """kill -9 of a random worker, and another in its place, whenever the meter reaches the next mark; the
        number of kills before the jobs were closed."""
        for kills, mark in enumerate(marks):

            def ready(mark: int = mark) -> bool:
                return len(self.lines(jobs)) >= mark and bool(self._at_work())

            wait_for(lambda: ready() or self.are_closed(jobs), f"{mark} calls", timeout=250)
            if self.are_closed(jobs):
                return kills
            victim = rng.choice(self._at_work())
            self.workers.running.sort(key=lambda worker: worker is not victim)
            self.workers.kill()
            self.workers.start()
        return len(marks)

    def _at_work(self) -> list["subprocess.Popen[bytes]"]:
        """Those that have started up: to kill another costs nobody anything."""
        host = socket.gethostname()
        return [each for each in self.workers.running if self.workers.said(f"-{each.pid}@{host} ready.")]


async def _enter(settings: Settings, specs: Sequence[str]) -> dict[JobId, int]:
    services = await open_services(settings)
    try:
        entered = [
            await create_job(services, await read_spec(Path(spec)), JobId(Path(spec).stem)) for spec in specs
        ]
        return {manifest.job: manifest.batches for manifest in entered}
    finally:
        await close_services(services)


@contextmanager
def stage(database: Database, processes: int, folder: Path, prices: Prices) -> Iterator[Stage]:
    """Workers that are ready, and an upstream that gives every document its declared label at these prices."""
    config = {
        "rule": "echo-label",
        "labels": LABELS,
        "accuracy": {model: 1.0 for model in prices},
        "prices": prices,
    }
    with ExitStack() as opened:
        upstream = opened.enter_context(start_upstream(config_from(config)))
        place = opened.enter_context(_place(database, folder))
        workers = opened.enter_context(herd(place, processes))
        wait_for(lambda: workers.said("ready.") >= processes, "workers", timeout=280)
        yield Stage(database=database, processes=processes, place=place, upstream=upstream, workers=workers)


LABELS = ("positive", "negative")  # of one length, so that every reply costs the same


@contextmanager
def _place(database: Database, folder: Path) -> Iterator[Tierwise]:
    """PostgreSQL with RabbitMQ; SQLite, in the lake's folder, with Redis."""
    if database == "PostgreSQL":
        with brokered(folder, "RabbitMQ", LEASE_SECONDS=LEASE_S) as place:
            yield place
        return
    with broker_queue("Redis", REDIS) as queue:
        places = {"BROKER": REDIS, "QUEUE": queue, "LEASE_SECONDS": LEASE_S}
        yield Tierwise(folder=folder, settings={f"TIERWISE_{name}": each for name, each in places.items()})


@dataclass(frozen=True, kw_only=True)
class Sample:
    metered: Mapping[str, int]  # nano-dollars by model
    accounts: Mapping[str, Account]


@dataclass
class Watch:
    """Reads the meter, then the accounts, over and over: what is metered was held before."""

    stage: Stage
    metered_of: Mapping[str, Sequence[str]]  # account -> the models whose calls it pays
    samples: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def broken(self) -> list[str]:
        found = []
        for sample in self.samples:
            for name, account in sample.accounts.items():
                metered = sum(sample.metered.get(model, 0) for model in self.metered_of[name])
                booked = account.spent + account.held
                if not metered <= booked <= account.cap:
                    found.append(f"{name}: metered {metered}, spent + held {booked}, cap {account.cap}")
        if not any(account.held for sample in self.samples for account in sample.accounts.values()):
            found.append(f"no hold was seen in {len(self.samples)} samples")
        return found

    async def run(self) -> None:
        ledger = open_ledger(self.stage.place.ledger_url(), clock=now_ms)
        metered: Counter[str] = Counter()
        offset = 0
        while not self._ended.is_set():
            lines, offset = read_lines(self.stage.upstream.meter_path, offset)
            for line in lines:
                metered[line.model] += line.nano
            read = {name: await ledger.account(AccountId(name)) for name in self.metered_of}
            accounts = {name: account for name, account in read.items() if account is not None}
            self.samples.append(Sample(metered=dict(metered), accounts=accounts))
            await asyncio.sleep(0.01)
        await ledger.close()


@contextmanager
def watch(stage: Stage, metered_of: Mapping[str, Sequence[str]]) -> Iterator[Watch]:
    watching = Watch(stage, metered_of)
    thread = threading.Thread(target=lambda: asyncio.run(watching.run()))
    thread.start()
    try:
        yield watching
    finally:
        watching._ended.set()
        thread.join()


def rows(stage: Stage, sql: str, jobs: Sequence[str]) -> list[dict[str, Any]]:
    """`{jobs}` in the SQL stands for the list of these jobs."""
    return stage.place.rows(sql.replace("{jobs}", ", ".join(f"'{job}'" for job in jobs)))
