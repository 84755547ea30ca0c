"""The tasks: the only place where synchronous Celery meets the asynchronous pipeline."""

import asyncio
import logging
from contextlib import ExitStack, nullcontext

from celery import Celery, Task
from celery.signals import worker_ready, worker_shutdown
from celery.worker.consumer import Consumer

from pipeline.audit.ruling import audit_batch, labels_batch, ready_batches
from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.monitoring.logs import about
from pipeline.update import update
from pipeline.webhook import deliver
from pipeline.work import Work
from schemas.ids import BatchIndex, Generation, JobId
from workers.app import BATCH_TASK, CLOSE_TASK, FIRE_TASK, SWEEP_TASK
from workers.dispatch import Dispatch
from workers.firing import fire_due, fire_forever
from workers.gauge import Counted
from workers.process import Process
from workers.sweeper import sweep, sweep_forever

STOP_WITHIN_S = 0.5
log = logging.getLogger("tierwise.worker")


def register(app: Celery, process: Process) -> None:
    """Give the app its tasks, bound to this process."""
    dispatch = Dispatch(app, process.services.tracer)

    def within(task: Task, **place: object) -> ExitStack:
        """A batch or a closing belongs to the trace that its message came from."""
        stack = ExitStack()
        stack.enter_context(about(**place, task_id=task.request.id))
        stack.enter_context(process.services.tracer.within(task.request.headers or {}))
        return stack

    @app.task(name=BATCH_TASK, bind=True)
    def batch(self: Task, job: str, generation: int, index: int) -> None:
        with within(self, job=job, generation=generation, batch=index):
            process.run(run_batch(process, dispatch, JobId(job), Generation(generation), BatchIndex(index)))

    @app.task(name=CLOSE_TASK, bind=True)
    def close(self: Task, job: str, generation: int) -> None:
        with within(self, job=job, generation=generation):
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
        with process.gauge.batch() if process.gauge else nullcontext(Counted()) as counted:
            taken, left = await take_batch(work, generation, batch)
            counted.taken = "redelivered" if taken == "committed" and left is None else taken
        if left:
            await update(work, generation, left)
        waited = await _waited(work, batch, left) if taken == "committed" else []
    if taken != "committed" or left is None:  # who commits has said so itself
        level = logging.WARNING if taken == "lost" else logging.INFO
        log.log(level, "batch %s/%s/%s: %s", job, generation, batch, taken)
    if taken == "yielded":
        await asyncio.to_thread(dispatch.batches, job, generation, [batch])
    elif waited:
        await asyncio.to_thread(dispatch.batches, job, generation, waited)
    elif left == 0:
        await asyncio.to_thread(dispatch.close, job, generation)


async def _waited(work: Work, batch: BatchIndex, left: int | None) -> list[BatchIndex]:
    """After the audit, the batches that waited for the plan it froze; after these, the labels'. A redelivery publishes
    them again: the one who committed may have died before."""
    services, pinned, use = work.services, work.manifest, work.spec.quality
    row = await services.ledger.job(work.job)
    if use is None or not use.asks or row is None:
        return []
    if batch != audit_batch(pinned, row.batches) and (left != 1 or labels_batch(pinned, row.batches) is None):
        return []
    return await ready_batches(
        services.storage, pinned, row, await services.ledger.open_batches(work.job, services.clock())
    )


async def run_close(process: Process, job: JobId, generation: Generation) -> None:
    async with process.work(job) as work:
        closed = await close_generation(work, generation)
        if closed and work.spec.webhook:
            await deliver(process.services)
    log.info("close %s/%s: %s", job, generation, "done" if closed else "elsewhere")
