"""Anthropic's usage report of messages: pages of its Admin API.

Source: docs.anthropic.com/en/api/admin-api/usage-cost/get-messages-usage-report. Its input classes are disjoint;
`output_tokens` counts thinking; it counts no requests and states no cost.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.reconcile.usage import (
    Billed,
    Export,
    Place,
    count,
    day_of,
    field,
    in_lane,
    named_model,
    need,
    whole_days,
)


def read_pages(buckets: Sequence[tuple[Mapping[str, Any], Place]]) -> Export:
    """From the buckets of all pages of /v1/organizations/usage_report/messages, grouped by model. Raises UsageError."""
    billed, spans = [], []
    for bucket, place in buckets:
        span = (_time(bucket, "starting_at", place), _time(bucket, "ending_at", place))
        day = day_of(span, place)
        if span in spans:
            raise place.wrong(f"the bucket from {span[0]:%FT%TZ} is there twice", "Give each page once.")
        spans.append(span)
        for number, result in enumerate(bucket.get("results") or []):
            inside = place.inside(f".results[{number}]")
            model = in_lane(
                named_model(result, inside), "batch" if result.get("service_tier") == "batch" else ""
            )
            billed.append(Billed(model=model, day=day, tokens=_tokens(result, inside)))
    path = buckets[0][1].path
    return Export(form="anthropic", billed=tuple(billed), days=whole_days(spans, path))


def _tokens(result: Mapping[str, Any], place: Place) -> dict[str, int]:
    written = result.get("cache_creation") or {}
    if not isinstance(written, Mapping):
        raise place.wrong("cache_creation is no object")
    inside = place.inside(".cache_creation")
    return {
        "input": need(result, "uncached_input_tokens", place),
        "cached_input": count(result, "cache_read_input_tokens", place) or 0,
        "cache_write": sum(count(written, name, inside) or 0 for name in written),
        "output": need(result, "output_tokens", place),
    }


def _time(bucket: Mapping[str, Any], name: str, place: Place) -> datetime:
    value = field(bucket, name, place)
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise place.wrong(f"{name} is {value!r}, no time such as 2026-11-01T00:00:00Z") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
