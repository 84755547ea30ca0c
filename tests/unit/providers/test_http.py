from email.utils import formatdate
from time import time

import pytest
from multidict import CIMultiDict

from pipeline.providers.http import request_timeout, retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(CIMultiDict(headers)) == expected


def test_retry_after_as_a_date() -> None:
    wait = retry_after(CIMultiDict({"Retry-After": formatdate(time() + 60, usegmt=True)}))
    assert wait is not None
    assert 58 <= wait <= 60


def test_connecting_ends_before_the_call_does() -> None:
    for seconds in (0.5, 60.0):
        timeout = request_timeout(seconds)
        assert timeout.connect is not None
        assert timeout.connect < seconds == timeout.total
