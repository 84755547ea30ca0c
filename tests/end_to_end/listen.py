"""Ports and what answers at them."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


def wait_for(look: Callable[[], T | None], what: str, timeout: float = 120) -> T:
    end = time.monotonic() + timeout
    while (found := look()) is None:
        assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.2)
    return found


def fetch(url: str) -> tuple[int, str]:
    """Status and body; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
