"""OpenAI's usage of completions and embeddings: pages of its API, or the dashboard's CSV export.

Source: platform.openai.com/docs/api-reference/usage/completions. `input_tokens` counts cached and cache-write tokens
in, `output_tokens` reasoning.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.reconcile.usage import (
    Billed,
    Bucket,
    Export,
    Place,
    count,
    day_of,
    days_between,
    in_lane,
    named_model,
    need,
    whole_days,
)

PARTS = {"cached_input": "input_cached_tokens", "cache_write": "input_cache_write_tokens"}
MARKS = ("start_time", "input_tokens")  # columns that tell a CSV export of it


def read_pages(buckets: Sequence[tuple[Mapping[str, Any], Place]]) -> Export:
    """From the buckets of all pages of /v1/organization/usage/completions (and /embeddings), grouped by model. Raises
    UsageError."""
    billed: list[Billed] = []
    spans: list[Bucket] = []
    seen: set[tuple[Bucket, str]] = set()
    for bucket, place in buckets:
        span = _span(bucket, place)
        day = day_of(span, place)
        results = bucket.get("results") or []
        kinds = {(span, str(result.get("object"))) for result in results}
        if kinds & seen:
            raise place.wrong(f"the bucket from {span[0]:%FT%TZ} is there twice", "Give each page once.")
        seen |= kinds
        spans.append(span)
        for number, result in enumerate(results):
            inside = place.inside(f".results[{number}]")
            billed.append(_billed(result, day, inside))
    path = buckets[0][1].path
    return Export(form="openai", billed=tuple(billed), days=whole_days(spans, path))


def read_table(rows: Iterable[Mapping[str, Any]], path: Path) -> Export:
    """From the rows of a CSV export; a bucket without usage is an empty row, or none. Raises UsageError."""
    billed, days = [], set()
    for number, row in enumerate(rows, 1):
        place = Place(path, f"row {number}")
        day = day_of(_span(row, place), place)
        days.add(day)
        if row.get("model") or row.get("input_tokens"):
            billed.append(_billed(row, day, place))
    if not days:
        raise Place(path, "").wrong("it has no rows")
    covered = frozenset(days_between(min(days), max(days)))
    return Export(form="openai", billed=tuple(billed), days=covered, sparse=True)


def _span(bucket: Mapping[str, Any], place: Place) -> Bucket:
    start, end = (
        datetime.fromtimestamp(need(bucket, name, place), UTC) for name in ("start_time", "end_time")
    )
    return start, end


def _billed(result: Mapping[str, Any], day: Any, place: Place) -> Billed:
    model = named_model(result, place)
    parts = {name: found for name, key in PARTS.items() if (found := count(result, key, place)) is not None}
    fresh = need(result, "input_tokens", place) - sum(parts.values())
    if fresh < 0:
        raise place.wrong("more input tokens are cached than there are in all")
    return Billed(
        model=in_lane(model, "batch" if str(result.get("batch")).lower() == "true" else ""),
        day=day,
        tokens={"input": fresh, **parts, "output": _output(result, place)},
        requests=count(result, "num_model_requests", place),
    )


def _output(result: Mapping[str, Any], place: Place) -> int:
    if "output_tokens" not in result and "completions" not in str(result.get("object")):
        return 0  # embeddings
    return need(result, "output_tokens", place)
