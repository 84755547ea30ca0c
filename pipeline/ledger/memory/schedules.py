"""Schedules in memory."""

from collections.abc import Sequence

import msgspec

from pipeline.ports.schedules import Occurrence, OccurrenceState, ScheduleRow


class MemorySchedules:
    """See pipeline/ports/schedules.py."""

    def __init__(self) -> None:
        self._rows: dict[str, ScheduleRow] = {}
        self._occurrences: dict[tuple[str, int], Occurrence] = {}

    async def put(self, row: ScheduleRow) -> None:
        self._rows[row.name] = row

    async def schedule(self, name: str) -> ScheduleRow | None:
        return self._rows.get(name)

    async def schedules(self) -> list[ScheduleRow]:
        return sorted(self._rows.values(), key=lambda row: row.name)

    async def pause(self, name: str, paused: bool, now: int) -> bool:
        row = self._rows.get(name)
        if row is None:
            return False
        until = row.decided_until if paused else max(now, row.decided_until)
        self._rows[name] = msgspec.structs.replace(row, paused=paused, decided_until=until)
        return True

    async def remove(self, name: str) -> bool:
        for key in [key for key in self._occurrences if key[0] == name]:
            del self._occurrences[key]
        return self._rows.pop(name, None) is not None

    async def decide(self, name: str, *, after: int, until: int, due: Sequence[int], now: int) -> bool:
        row = self._rows.get(name)
        if row is None or row.paused or row.decided_until != after:
            return False
        self._rows[name] = msgspec.structs.replace(row, decided_until=until)
        for time in due:
            fresh = Occurrence(schedule=name, scheduled_at=time, state="due", seen_at=now)
            self._occurrences.setdefault((name, time), fresh)
        return True

    async def occurrences(
        self, name: str, limit: int, state: OccurrenceState | None = None
    ) -> list[Occurrence]:
        mine = [each for each in self._occurrences.values() if each.schedule == name]
        found = [each for each in mine if state in (None, each.state)]
        return sorted(found, key=lambda each: -each.scheduled_at)[:limit]

    async def end(self, ended: Occurrence) -> None:
        key = (ended.schedule, ended.scheduled_at)
        if key in self._occurrences and self._occurrences[key].state == "due":
            self._occurrences[key] = ended
