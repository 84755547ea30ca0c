"""A worker process with a fault in it: the real wiring and the real command, struck down at a chosen point.

Ledger, lake and providers are wrapped by the methods of their ports. Every call is noted in the test's own books
(a file, one line an event), so that what was in flight at a fault is known from outside the product.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from pipeline.ports.ledger import Held, Intent, Settlement
from pipeline.ports.storage import Storage
from pipeline.work import Services, Work
from schemas.errors import LedgerUnreachable
from schemas.ids import CallId, JobId
from schemas.records import Reply

Point = Literal[
    "before hold",
    "after hold",
    "after send",
    "after response",
    "after settle",
    "before commit",
    "after commit",
]
POINTS: tuple[Point, ...] = get_args(Point)
# settled: with a complete reply; ended: without; unheard: the ledger did not take it
Event = Literal["asked", "held", "sent", "settled", "ended", "unheard"]
CLOCK = signal.SIGRTMIN + 1  # look at the clock file again
_IMPORTS = ["tests.faults.worker", "jobs.cli", "workers.tasks", "workers.process", "celery.bin.celery",
            "celery.apps.worker", "celery.concurrency.thread", "pipeline.ledger.sql.ledger", "pipeline.storage.s3",
            "pipeline.providers.openai", "kombu.transport.pyamqp", "kombu.transport.redis", "pytest"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Strike:
    """Where this process is to be hit."""

    point: Point
    nth: int  # pass at which it happens
    stop: bool = False  # SIGSTOP, to be continued; else SIGKILL


@dataclass(frozen=True, kw_only=True)
class Station:
    """What a worker process is started with."""

    folder: Path  # its working folder; log, books and clock lie in it
    environment: dict[str, str]
    threads: int = 4
    strike: Strike | None = None
    meter: Path | None = None  # the upstream's, to know when a request has arrived

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A line of the books."""

    at: float  # seconds of the host's monotonic clock, the same for all processes
    pid: int
    event: Event
    call_id: CallId


def clock_file(folder: Path, pid: int) -> Path:
    """Holds the seconds by which that process's clock is wrong."""
    return folder / f"clock-{pid}"


def nursery(root: Path) -> ForkServerContext:
    """Where workers are forked from: all is imported once, so that a worker costs no three seconds of CPU."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(root)
    try:
        from multiprocessing.forkserver import ensure_running

        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def run(station: Station) -> None:
    """The whole life of a worker process."""
    os.environ.clear()
    os.environ.update(station.environment)
    os.chdir(station.folder)
    with station.log.open("ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    _shift_clock(station.folder)
    _wire(_Watched(station))
    from jobs.cli import main

    main(["worker", "--threads", str(station.threads)])


def _shift_clock(folder: Path) -> None:
    """`time.time` and `time.time_ns` of this process, wrong by what its clock file says."""
    wrong = 0.0
    true_time, true_ns = time.time, time.time_ns

    def look(*_: object) -> None:
        nonlocal wrong
        wrong = float(clock_file(folder, os.getpid()).read_text())

    signal.signal(CLOCK, look)
    clock_file(folder, os.getpid()).write_text("0")  # from now on it can be told
    time.time = lambda: true_time() + wrong  # type: ignore[assignment]
    time.time_ns = lambda: true_ns() + int(wrong * 1e9)  # type: ignore[assignment]


def _wire(watched: "_Watched") -> None:
    """Have the worker's process open what it opens, watched."""
    import workers.process as process

    open_services, open_work = process.open_services, process.open_work

    async def services(settings: Any) -> Services:
        return watched.services(await open_services(settings))

    async def work(services: Services, job: JobId) -> Work:
        return watched.work(await open_work(services, job))

    process.open_services, process.open_work = services, work


class _Watched:
    """Replaces single methods on the objects the wiring made, so that they stay what they are."""

    def __init__(self, station: Station) -> None:
        self._strike, self._meter = station.strike, station.meter
        self._books = os.open(books_file(station.folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._passes = 0

    def services(self, services: Services) -> Services:
        self._ledger(services.ledger)
        self._storage(services.storage)
        return services

    def work(self, work: Work) -> Work:
        providers = {id(rung.provider): rung.provider for rung in work.asking.rungs.values()}
        for provider in providers.values():
            self._provider(provider)
        return work

    def _ledger(self, ledger: Any) -> None:
        hold, settle = ledger.hold, ledger.settle

        async def watched_hold(intent: Intent) -> Any:
            self._at("before hold")
            self._note("asked", intent.call_id)
            granted = await hold(intent)
            if isinstance(granted, Held):
                self._note("held", intent.call_id)
                self._at("after hold")
            return granted

        async def watched_settle(settlement: Settlement) -> bool:
            try:
                within: bool = await settle(settlement)
            except LedgerUnreachable:
                self._note("unheard", settlement.call_id)
                raise
            self._note("ended" if settlement.body is None else "settled", settlement.call_id)
            self._at("after settle")
            return within

        ledger.hold, ledger.settle = watched_hold, watched_settle

    def _provider(self, provider: Any) -> None:
        send = provider.send

        async def watched_send(body: bytes, key: CallId) -> Reply:
            self._note("sent", key)
            reply: Reply
            if self._is_due("after send"):
                sending = asyncio.ensure_future(send(body, key))
                await self._arrival(key, sending)
                self._hit()
                reply = await sending
            else:
                reply = await send(body, key)
            self._at("after response")
            return reply

        provider.send = watched_send

    def _storage(self, storage: Storage) -> None:
        create = storage.create

        async def watched_create(key: str, data: bytes) -> bool:
            if not key.startswith("_commits/"):
                return await create(key, data)
            self._at("before commit")
            created = await create(key, data)
            self._at("after commit")
            return created

        storage.create = watched_create  # type: ignore[method-assign]

    async def _arrival(self, key: CallId, sending: "asyncio.Future[Reply]") -> None:
        """Until the request stands in the provider's meter."""
        assert self._meter is not None
        mark = f'"{key}"'.encode()
        offset = max(0, self._meter.stat().st_size - 4096)
        while not sending.done():
            with self._meter.open("rb") as file:
                file.seek(offset)
                if mark in file.read():
                    return
            await asyncio.sleep(0.005)

    def _note(self, event: Event, call_id: CallId) -> None:
        entry = Entry(time.monotonic(), os.getpid(), event, call_id)
        os.write(self._books, msgspec.json.encode(entry) + b"\n")

    def _at(self, point: Point) -> None:
        if self._is_due(point):
            self._hit()

    def _is_due(self, point: Point) -> bool:
        strike = self._strike
        if strike is None or strike.point != point:
            return False
        self._passes += 1
        return self._passes == strike.nth

    def _hit(self) -> None:
        assert self._strike is not None
        how = "stopped" if self._strike.stop else "killed"
        sys.stderr.write(f"fault: {how} {self._strike.point} (pass {self._strike.nth}) in {os.getpid()}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSTOP if self._strike.stop else signal.SIGKILL)


def books_file(folder: Path) -> Path:
    """What the workers of a place have asked of their ports, one line an event."""
    return folder / "calls.log"


def read_books(folder: Path) -> list[Entry]:
    """In the order of the file; a line that was cut by a kill is left out."""
    path = books_file(folder)
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Entry) for line in lines if line.endswith(b"\n")]
