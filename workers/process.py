"""What a worker process keeps: one event loop in one thread, one set of services, the jobs it has opened."""

import asyncio
import atexit
import gc
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from pipeline.settings import Settings
from pipeline.wiring.services import open_services
from pipeline.wiring.work import close_work, open_work
from pipeline.work import Services, Work
from schemas.ids import JobId
from workers.gauge import Gauge

T = TypeVar("T")
KEPT = 8  # jobs nobody works on at the moment


class Process:
    """The bridge from Celery's threads to asyncio: `run` is the one sync door."""

    def __init__(self, settings: Settings, gauge: Gauge | None = None) -> None:
        """`gauge`: reads what the process does, where somebody wants to know."""
        self.settings, self.gauge = settings, gauge
        self._loop = _new_loop()
        self._works: dict[JobId, asyncio.Task[Work]] = {}
        self._users: Counter[JobId] = Counter()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tierwise-loop", daemon=True)
        self._thread.start()
        opened = self.run(open_services(settings))
        self.services: Services = replace(opened, meters=gauge.meters if gauge else None)
        if gauge is not None:
            self.spawn(gauge.keep(self.services, self.opened))
        tune()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the loop thread without waiting."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    @asynccontextmanager
    async def work(self, job: JobId) -> AsyncIterator[Work]:
        """The job, opened once per process, whoever asks first, and kept for a while after."""
        if job not in self._works or (self._works[job].done() and self._works[job].exception()):
            self._works[job] = asyncio.create_task(open_work(self.services, job))
        self._users[job] += 1
        try:
            yield await asyncio.shield(self._works[job])
        finally:
            self._users[job] -= 1
            self._works[job] = self._works.pop(job)  # used last, so last
            await self._forget()

    def opened(self) -> list[Work]:
        """The jobs that are open at the moment."""
        done = [each for each in self._works.values() if each.done() and not each.cancelled()]
        return [each.result() for each in done if not each.exception()]

    async def _forget(self) -> None:
        """A job's models, prompts and answers computed ahead take memory: a worker lives longer than its jobs."""
        idle = [job for job in self._works if not self._users[job]]
        for job in idle[:-KEPT]:
            opened = self._works.pop(job)
            del self._users[job]
            if opened.done() and not opened.exception():
                if self.gauge is not None:
                    self.gauge.forget(opened.result())
                await close_work(opened.result())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self.services.tracer.close()


def tune() -> None:
    """Settings of the interpreter for a process that works batches; without them a call costs far more CPU.

    Batches keep a hundred thousand short-lived objects alive at once: at the default thresholds the collector
    walks all of them, and every imported module, again and again. BLAS threads spin between their small products.
    """
    from threadpoolctl import threadpool_limits

    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else DuckDB's binding reports everything as leaked
    gc.set_threshold(200_000, 20, 50)
    threadpool_limits(limits=1)


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
