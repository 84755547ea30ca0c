"""Schedules and what became of their occurrences, in the ledger's store: shared by all machines, and exact."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from schemas.ids import JobId


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    spec: str  # JSON of the job spec, with the files it names read in
    folder: str  # that its relative paths start from
    paused: bool = False
    created_at: int  # Unix ms
    decided_until: int  # Unix ms; what becomes of occurrences up to here is decided


# due: to run. submitted: a job runs it. nothing_new: no row to ask, no job. missed, overlapped: decided against.
# failed: no job could be made of it
OccurrenceState = Literal["due", "submitted", "nothing_new", "missed", "overlapped", "failed"]


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    schedule: str
    scheduled_at: int  # Unix ms
    state: OccurrenceState
    job: JobId | None = None
    note: str = ""  # what there was to do, or what failed
    exit_code: int | None = None  # where no job was made that has one
    seen_at: int  # Unix ms at which it was found due


class Schedules(Protocol):
    async def put(self, row: ScheduleRow) -> None:
        """Create, or replace the one of this name; its occurrences stay."""
        ...

    async def schedule(self, name: str) -> ScheduleRow | None: ...
    async def schedules(self) -> list[ScheduleRow]:
        """By name."""
        ...

    async def pause(self, name: str, paused: bool, now: int) -> bool:
        """What comes due while it is paused never runs. False: there is no such schedule."""
        ...

    async def remove(self, name: str) -> bool:
        """With its occurrences; jobs stay. False: there is no such schedule."""
        ...

    async def decide(self, name: str, *, after: int, until: int, due: Sequence[int], now: int) -> bool:
        """Enter the occurrences of (after, until] as due and move on to `until`, in one transaction. An occurrence is
        entered once, whoever is there first. False, and nothing is entered, unless `after` is where the schedule
        stands and it is not paused."""
        ...

    async def occurrences(
        self, name: str, limit: int, state: OccurrenceState | None = None
    ) -> list[Occurrence]:
        """The latest first."""
        ...

    async def end(self, ended: Occurrence) -> None:
        """What became of an occurrence that was due; one that is not due stays as it is."""
        ...
