"""Schedules in the ledger's database."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.sql.store import Run, Tx
from pipeline.ledger.sql.tables import occurrences, schedules
from pipeline.ports.schedules import Occurrence, OccurrenceState, ScheduleRow


class SqlSchedules:
    """See pipeline/ports/schedules.py."""

    def __init__(self, write: Run, read: Run) -> None:
        self._write, self._read = write, read

    async def put(self, row: ScheduleRow) -> None:
        await self._write(lambda tx: _put(tx, row))

    async def schedule(self, name: str) -> ScheduleRow | None:
        found = await self._read(lambda tx: _rows(tx, schedules.c.name == name))
        return next(iter(found), None)

    async def schedules(self) -> list[ScheduleRow]:
        return await self._read(_rows)

    async def pause(self, name: str, paused: bool, now: int) -> bool:
        def work(tx: Tx) -> bool:
            mine = update(schedules).where(schedules.c.name == name)
            found = tx.run(mine.values(paused=int(paused))).rowcount == 1
            if not paused:
                tx.run(mine.where(schedules.c.decided_until < now).values(decided_until=now))
            return found

        return await self._write(work)

    async def remove(self, name: str) -> bool:
        def work(tx: Tx) -> bool:
            tx.run(delete(occurrences).where(occurrences.c.schedule == name))
            return tx.run(delete(schedules).where(schedules.c.name == name)).rowcount == 1

        return await self._write(work)

    async def decide(self, name: str, *, after: int, until: int, due: Sequence[int], now: int) -> bool:
        same = {"schedule": name, "state": "due", "note": "", "seen_at": now}
        rows = [{**same, "scheduled_at": time} for time in due]
        return await self._write(lambda tx: _decide(tx, name, after, until, rows))

    async def occurrences(
        self, name: str, limit: int, state: OccurrenceState | None = None
    ) -> list[Occurrence]:
        query = select(occurrences).where(occurrences.c.schedule == name)
        if state is not None:
            query = query.where(occurrences.c.state == state)
        query = query.order_by(occurrences.c.scheduled_at.desc()).limit(limit)
        return await self._read(lambda tx: [Occurrence(**row._mapping) for row in tx.run(query)])

    async def end(self, ended: Occurrence) -> None:
        column = occurrences.c
        key = (column.schedule == ended.schedule, column.scheduled_at == ended.scheduled_at)
        change = update(occurrences).where(*key, column.state == "due").values(msgspec.structs.asdict(ended))
        await self._write(lambda tx: tx.run(change).rowcount)


def _dialect(tx: Tx) -> Any:
    return postgresql if tx.postgresql else sqlite


def _rows(tx: Tx, *conditions: Any) -> list[ScheduleRow]:
    found = tx.run(select(schedules).where(*conditions).order_by(schedules.c.name))
    return [ScheduleRow(**{**row._mapping, "paused": bool(row.paused)}) for row in found]


def _put(tx: Tx, row: ScheduleRow) -> None:
    values = {**msgspec.structs.asdict(row), "paused": int(row.paused)}
    change = {name: value for name, value in values.items() if name != "name"}
    insert = _dialect(tx).insert(schedules).values(values)
    tx.run(insert.on_conflict_do_update(index_elements=["name"], set_=change))


def _decide(tx: Tx, name: str, after: int, until: int, rows: Sequence[dict[str, Any]]) -> bool:
    column = schedules.c
    stands = (column.name == name, column.decided_until == after, column.paused == 0)
    if tx.run(update(schedules).where(*stands).values(decided_until=until)).rowcount == 0:
        return False
    if rows:
        tx.run(_dialect(tx).insert(occurrences).on_conflict_do_nothing(), list(rows))
    return True
