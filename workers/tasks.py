"""The tasks: the only place where synchronous Celery meets the asynchronous pipeline."""

import asyncio
import logging

from celery import Celery
from celery.signals import worker_ready, worker_shutdown
from celery.worker.consumer import Consumer

from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.update import update
from pipeline.webhook import deliver
from pipeline.work import Work
from schemas.ids import BatchIndex, Generation, JobId
from workers.app import BATCH_TASK, CLOSE_TASK, FIRE_TASK, SWEEP_TASK
from workers.dispatch import Dispatch
from workers.firing import fire_due, fire_forever
from workers.process import Process
from workers.sweeper import sweep, sweep_forever

STOP_WITHIN_S = 0.5
log = logging.getLogger("tierwise.worker")


def register(app: Celery, process: Process) -> None:
    """Give the app its tasks, bound to this process."""
    dispatch = Dispatch(app)

    @app.task(name=BATCH_TASK)
    def batch(job: str, generation: int, index: int) -> None:
        process.run(run_batch(process, dispatch, JobId(job), Generation(generation), BatchIndex(index)))

    @app.task(name=CLOSE_TASK)
    def close(job: str, generation: int) -> None:
        process.run(run_close(process, JobId(job), Generation(generation)))

    @app.task(name=SWEEP_TASK)
    def sweep_once() -> None:
        process.run(sweep(process.services, dispatch))

    @app.task(name=FIRE_TASK)
    def fire_once() -> None:
        process.run(fire_due(process.services, dispatch))

    @worker_ready.connect(weak=False)
    def start(sender: Consumer, **_: object) -> None:
        sender.hub.call_repeatedly(STOP_WITHIN_S, _wake)
        process.spawn(sweep_forever(process.services, dispatch))
        process.spawn(fire_forever(process.services, dispatch))

    @worker_shutdown.connect(weak=False)
    def stop(**_: object) -> None:
        process.stop()


def _wake() -> None:
    """Celery's loop sees a stop only when it wakes, which when idle may take ten seconds."""


async def run_batch(
    process: Process, dispatch: Dispatch, job: JobId, generation: Generation, batch: BatchIndex
) -> None:
    """Whatever became of the batch, the message is acknowledged: what is left is published again."""
    async with process.work(job) as work:
        taken, left = await take_batch(work, generation, batch)
        if left:
            await update(work, generation, left)
        waited = await _waited(work, batch) if taken == "committed" else []
    log.info("batch %s/%s/%s: %s", job, generation, batch, taken)
    if taken == "yielded":
        await asyncio.to_thread(dispatch.batches, job, generation, [batch])
    elif waited:
        await asyncio.to_thread(dispatch.batches, job, generation, waited)
    elif left == 0:
        await asyncio.to_thread(dispatch.close, job, generation)


async def _waited(work: Work, batch: BatchIndex) -> list[BatchIndex]:
    """After the audit, the batches that waited for the plan it froze. A redelivery publishes them again: the one who
    committed may have died before."""
    row = await work.services.ledger.job(work.job)
    use = work.spec.quality
    if use is None or not use.asks or row is None or batch != row.batches - 1:
        return []
    return await work.services.ledger.open_batches(work.job, work.services.clock())


async def run_close(process: Process, job: JobId, generation: Generation) -> None:
    async with process.work(job) as work:
        closed = await close_generation(work, generation)
        if closed and work.spec.webhook:
            await deliver(process.services)
    log.info("close %s/%s: %s", job, generation, "done" if closed else "elsewhere")
