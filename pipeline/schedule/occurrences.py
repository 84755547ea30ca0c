"""Which occurrences of a schedule are due. Times are Unix ms; the clock is an argument."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice, takewhile

from cronsim import CronSim

from schemas.schedule import Schedule

MOST = 100  # occurrences that are caught up with; of more, the latest
_HOUR_MS = 3_600_000


def upcoming(schedule: Schedule, after: int, count: int) -> list[int]:
    """The next occurrences later than `after`."""
    return list(islice(_Times(schedule, after), count))


def between(schedule: Schedule, after: int, until: int) -> list[int]:
    """Those later than `after` and not later than `until`: the latest `MOST` and one more. Looks back no further than
    it must, so that a year of missed minutes costs no more than an hour of them."""
    span = _HOUR_MS
    while True:
        start = max(after, until - span)
        found = list(takewhile(lambda time: time <= until, _Times(schedule, start)))
        if start == after or len(found) > MOST:
            return found[-MOST - 1 :]
        span *= 4


def to_run(schedule: Schedule, due: Sequence[tuple[int, int]]) -> list[int]:
    """Of the occurrences that are due, with the time each was seen, those that run; the rest were missed."""
    times = sorted(time for time, _ in due)
    match schedule.missed:
        case "catch_up":
            return times[-MOST:]
        case "latest":
            return times[-1:]
        case "skip":
            return sorted(time for time, seen in due if seen - time <= schedule.grace_s * 1000)


class _Times:
    """Instants, ever later. On the days the clocks change cronsim may name an instant twice, or one before `after`:
    it counts in local time."""

    def __init__(self, schedule: Schedule, after: int) -> None:
        self._last = after
        start = datetime.fromtimestamp(after / 1000, UTC).astimezone(schedule.zone)
        self._cron = CronSim(schedule.cron, start)

    def __iter__(self) -> "_Times":
        return self

    def __next__(self) -> int:
        while (time := round(next(self._cron).timestamp() * 1000)) <= self._last:
            pass
        self._last = time
        return time
