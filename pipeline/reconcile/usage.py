"""What a provider says it billed, in the form that all exports are read into."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import UsageError

Form = Literal["openai", "anthropic", "bedrock"]
DAY = timedelta(days=1)


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """What was billed for a model in one bucket of time. Token classes are disjoint; one that is not in `tokens` is
    not told apart by the export and counted in its side's first class."""

    model: str  # as the export names it
    day: date  # UTC
    tokens: dict[str, int]
    requests: int | None = None  # None: the export does not say
    cost: Decimal | None = None  # USD; None likewise


class Export(msgspec.Struct, frozen=True, kw_only=True):
    form: Form
    billed: tuple[Billed, ...]
    days: frozenset[date]  # covered from midnight to midnight UTC
    sparse: bool = (
        False  # it has no lines for days without usage; `days` are those from its first to its last
    )
    left_out: dict[str, int] = {}  # kind of line -> how many


class Place(msgspec.Struct, frozen=True):
    """Where in an export something stands, for messages."""

    path: Path
    at: str

    def inside(self, more: str) -> "Place":
        return Place(self.path, f"{self.at}{more}")

    def wrong(self, why: str, fix: str = "") -> UsageError:
        return UsageError(path=self.path, why=f"{self.at}: {why}" if self.at else why, fix=fix)


Bucket = tuple[datetime, datetime]


def day_of(bucket: Bucket, place: Place) -> date:
    """The UTC day a bucket lies in. Raises UsageError where it lies in two."""
    start, end = bucket
    if end <= start:
        raise place.wrong(f"the bucket ends at {end:%FT%TZ}, before it starts")
    if end > midnight(start.date()) + DAY:
        fix = "Export buckets of a day or less that start at midnight UTC (bucket_width=1d)."
        raise place.wrong(f"the bucket from {start:%FT%TZ} to {end:%FT%TZ} crosses midnight UTC", fix)
    return start.date()


def whole_days(buckets: Iterable[Bucket], path: Path) -> frozenset[date]:
    """The days that buckets cover from midnight to midnight. Raises UsageError where two overlap."""
    seconds: dict[date, float] = {}
    before = datetime.min.replace(tzinfo=UTC)
    for start, end in sorted(set(buckets)):
        if start < before:
            fix = "Give each page once, and one bucket_width."
            raise UsageError(
                path=path, why=f"the bucket from {start:%FT%TZ} overlaps an earlier one", fix=fix
            )
        before = end
        seconds[start.date()] = seconds.get(start.date(), 0) + (end - start).total_seconds()
    return frozenset(day for day, covered in seconds.items() if covered >= DAY.total_seconds())


def days_between(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += DAY


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def field(fields: Mapping[str, Any], name: str, place: Place) -> Any:
    if name not in fields:
        raise place.wrong(f"it has no {name}", f"Known here: {', '.join(map(str, fields))}.")
    return fields[name]


def count(fields: Mapping[str, Any], name: str, place: Place) -> int | None:
    """A whole number of 0 or more, as a number or as digits; None where it is missing or empty."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not str(value).isdecimal():
        raise place.wrong(f"{name} is {str(value)[:60]!r}, no whole number of 0 or more")
    return int(value)


def need(fields: Mapping[str, Any], name: str, place: Place) -> int:
    field(fields, name, place)
    found = count(fields, name, place)
    if found is None:
        raise place.wrong(f"{name} is empty")
    return found


def named_model(fields: Mapping[str, Any], place: Place) -> str:
    """The model of a result. Raises UsageError where the export was not grouped by it."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise place.wrong("it names no model", "Export again, grouped by model (group_by[]=model).")
    return model


def in_lane(model: str, lane: str) -> str:
    """Usage in a lane that no job asks in (a batch API at half the price, say) is another's."""
    return f"{model} ({lane})" if lane else model
