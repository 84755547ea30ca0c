"""Publishing claim checks: {job, generation, batch} and nothing else. The broker carries hints."""

from collections.abc import Iterable

from celery import Celery

from pipeline.audit.ruling import audit_batch
from pipeline.monitoring.trace import UNTRACED, Tracer
from schemas.ids import BatchIndex, Generation, JobId
from schemas.manifest import Manifest
from workers.app import BATCH_TASK, CLOSE_TASK


class Dispatch:
    """Messages may be lost, doubled or late: leases and commits make that harmless. A trace goes on in them."""

    def __init__(self, app: Celery, tracer: Tracer = UNTRACED) -> None:
        self._app, self._tracer = app, tracer

    def job(self, pinned: Manifest) -> None:
        """What a job begins with: the audit where it has one, before all others."""
        use = pinned.job_spec().quality
        first: Iterable[BatchIndex] = map(BatchIndex, range(pinned.batches))
        if use is not None and use.asks:
            first = [audit_batch(pinned, pinned.batches)]
        self.batches(pinned.job, Generation(1), first)

    def batches(self, job: JobId, generation: Generation, batches: Iterable[BatchIndex]) -> None:
        headers = self._tracer.headers()
        with self._app.producer_pool.acquire(block=True, timeout=30) as producer:
            for batch in batches:
                self._app.send_task(
                    BATCH_TASK,
                    args=[job, generation, batch],
                    argsrepr=f"{job}, generation {generation}, batch {batch}",
                    producer=producer,
                    headers=headers,
                )

    def close(self, job: JobId, generation: Generation) -> None:
        self._app.send_task(
            CLOSE_TASK,
            args=[job, generation],
            argsrepr=f"{job}, generation {generation}",
            headers=self._tracer.headers(),
        )
