"""Webhooks to deliver, in the ledger's database."""

from typing import Any

import msgspec
from sqlalchemy import Select, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.sql.store import Run, Tx
from pipeline.ledger.sql.tables import deliveries
from pipeline.ports.deliveries import Delivery
from schemas.ids import JobId

_COLUMN = deliveries.c


class SqlDeliveries:
    """See pipeline/ports/deliveries.py."""

    def __init__(self, write: Run, read: Run) -> None:
        self._write, self._read = write, read

    async def put(self, delivery: Delivery) -> None:
        def work(tx: Tx) -> None:
            dialect: Any = postgresql if tx.postgresql else sqlite
            insert = dialect.insert(deliveries).values(msgspec.structs.asdict(delivery))
            tx.run(insert.on_conflict_do_nothing())

        await self._write(work)

    async def due(self, now: int) -> list[Delivery]:
        query = select(deliveries).where(_COLUMN.state == "waiting", _COLUMN.next_at <= now)
        return await self._rows(query.order_by(_COLUMN.next_at, _COLUMN.job, _COLUMN.generation))

    async def of(self, job: JobId) -> list[Delivery]:
        return await self._rows(select(deliveries).where(_COLUMN.job == job).order_by(_COLUMN.generation))

    async def note(self, delivery: Delivery) -> None:
        mine = (_COLUMN.job == delivery.job, _COLUMN.generation == delivery.generation)
        change = update(deliveries).where(*mine, _COLUMN.state == "waiting")
        change = change.values(msgspec.structs.asdict(delivery))
        await self._write(lambda tx: tx.run(change).rowcount)

    async def _rows(self, query: Select[Any]) -> list[Delivery]:
        return await self._read(lambda tx: [Delivery(**row._mapping) for row in tx.run(query)])
