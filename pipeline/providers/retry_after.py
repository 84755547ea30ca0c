"""How long a provider wants to be left alone."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time


def retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` in seconds or as a date (RFC 9110, 10.2.3); the
    names in lower case."""
    if (millis := _number(headers.get(b"retry-after-ms"))) is not None:
        return millis / 1000
    value = headers.get(b"retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return max(0.0, number) if isfinite(number) else None
