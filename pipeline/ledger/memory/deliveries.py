"""Webhooks to deliver, in memory."""

from pipeline.ports.deliveries import Delivery
from schemas.ids import Generation, JobId


class MemoryDeliveries:
    """See pipeline/ports/deliveries.py."""

    def __init__(self) -> None:
        self._rows: dict[tuple[JobId, Generation], Delivery] = {}

    async def put(self, delivery: Delivery) -> None:
        self._rows.setdefault((delivery.job, delivery.generation), delivery)

    async def due(self, now: int) -> list[Delivery]:
        found = [row for row in self._rows.values() if row.state == "waiting" and row.next_at <= now]
        return sorted(found, key=lambda row: (row.next_at, row.job, row.generation))

    async def of(self, job: JobId) -> list[Delivery]:
        return sorted((row for row in self._rows.values() if row.job == job), key=lambda row: row.generation)

    async def note(self, delivery: Delivery) -> None:
        key = (delivery.job, delivery.generation)
        if key in self._rows and self._rows[key].state == "waiting":
            self._rows[key] = delivery
