from email.utils import formatdate
from time import time

import pytest

from pipeline.providers.retry_after import retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({b"retry-after": b"3"}, 3.0),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after": b"-3"}, 0.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({b"retry-after-ms": b"250", b"retry-after": b"1"}, 0.25),
    ],
)
def test_retry_after(headers: dict[bytes, bytes], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_as_a_date() -> None:
    wait = retry_after({b"retry-after": formatdate(time() + 60, usegmt=True).encode()})
    assert wait is not None
    assert 58 <= wait <= 60
