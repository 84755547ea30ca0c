"""What a worker process does, as numbers in a file: written every second, read by whoever is scraped for it."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.cascade.rung import Rung
from pipeline.monitoring.meters import Key, Meters, Readings
from pipeline.work import Services, Work

TICK_S = 0.25  # a timer this often tells how late the loop is
TICKS = 4  # between two writes


@dataclass
class Counted:
    taken: str = "failed"  # what became of a batch, until it says otherwise


class Gauge:
    """One process, numbered, and the folder that all processes of its command write to."""

    def __init__(self, number: int, folder: Path) -> None:
        self.meters = Meters()
        self._number, self._path = str(number), folder / f"{number}.readings"
        self._past: Counter[Key] = Counter()  # replies to jobs that are closed by now

    @contextmanager
    def batch(self) -> Iterator[Counted]:
        counted, begun = Counted(), time.monotonic()
        self.meters.running += 1
        try:
            yield counted
        finally:
            self.meters.running -= 1
            self.meters.count("tierwise_batches_total", counted.taken)
            if counted.taken == "committed":
                self.meters.histogram("tierwise_batch_seconds").observe(time.monotonic() - begun)

    async def keep(self, services: Services, opened: Callable[[], Sequence[Work]]) -> None:
        """Until the process ends. A disk that is full costs readings, nothing else."""
        lag = self.meters.histogram("tierwise_event_loop_lag_seconds", self._number)
        while True:
            with suppress(OSError):
                self.write(self.read(services, opened()))
            for _ in range(TICKS):
                due = time.monotonic() + TICK_S
                await asyncio.sleep(TICK_S)
                lag.observe(max(0.0, time.monotonic() - due))

    def read(self, services: Services, opened: Sequence[Work]) -> Readings:
        counters, gauges = self.meters.counters + self._past, Counter[Key]()
        for work in opened:
            for rung in rungs_of(work):
                pace, tier = rung.pace, (rung.name, rung.provider.model)
                counters += _replies(rung)
                gauges["tierwise_calls_in_flight", self._number, *tier] += pace.wire.taken
                gauges["tierwise_calls_queued", self._number, *tier] += pace.queued
                gauges["tierwise_concurrency_window", self._number, *tier] += pace.window
                gauges["tierwise_tier_down", self._number, *tier] += pace.down
        gauges["tierwise_batches_running", self._number] = self.meters.running
        histograms = dict(self.meters.histograms)
        if (groups := getattr(services.ledger, "groups", None)) is not None:
            histograms["tierwise_ledger_commit_seconds",] = groups.seconds
            histograms["tierwise_ledger_group_operations",] = groups.operations
        return Readings(dict(counters), dict(gauges), histograms, time.time())

    def write(self, readings: Readings) -> None:
        """Whole or not at all, so that a reader never waits for a writer."""
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.msgpack.encode(readings))
        os.replace(beside, self._path)

    def forget(self, work: Work) -> None:
        """A job that is closed here: what its tiers said still counts."""
        for rung in rungs_of(work):
            self._past += _replies(rung)


def rungs_of(work: Work) -> list[Rung]:
    """The tiers that are asked over a wire."""
    every = [*work.asking.rungs.values(), *([work.encoder] if work.encoder else [])]
    return [rung for rung in every if not rung.provider.local]


def _replies(rung: Rung) -> Counter[Key]:
    tier = (rung.name, rung.provider.model)
    return Counter({("tierwise_replies_total", *tier, kind): n for kind, n in rung.pace.replies().items()})


def read_folder(folder: Path) -> dict[int, Readings]:
    """What each process wrote last, by its number."""
    found = {}
    for path in sorted(folder.glob("*.readings")):
        with suppress(OSError, msgspec.DecodeError):
            found[int(path.stem)] = msgspec.msgpack.decode(path.read_bytes(), type=Readings)
    return found
