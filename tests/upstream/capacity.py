"""`python -m tests.upstream.capacity`: what an upstream can serve; prints one JSON line."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import cast

from tests.upstream.client import start_upstream
from tests.upstream.config import UpstreamConfig, config_from, read_config
from tests.upstream.outcomes import OutcomeAnswers
from tests.upstream.traffic import Stats

_MODEL = "small"
_TASK = "Classify the document as one of: a, b, c. Answer with the label alone."


class Asker(asyncio.Protocol):
    """One connection that keeps one request in flight."""

    def __init__(self, next_request: Callable[[], bytes | None], done: Callable[[], None]) -> None:
        self._next_request = next_request
        self._done = done
        self._seen = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass
        self._ask()

    def data_received(self, data: bytes) -> None:
        """A reply ends with its body, whose length is announced."""
        self._seen += data
        head, gap, body = self._seen.partition(b"\r\n\r\n")
        if gap and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self._seen = b""
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        request = self._next_request()
        if request is None:
            self._transport.close()
            self._done()
        else:
            self._transport.write(request)


def request_bytes(model: str, text: str, key: int) -> bytes:
    """A chat request as a product would send it."""
    messages = [{"role": "system", "content": _TASK}, {"role": "user", "content": text}]
    body = json.dumps({"model": model, "messages": messages, "max_tokens": 16}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: upstream\r\nAccept: */*\r\n"
        "Authorization: Bearer none\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: key-{key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def documents(config: UpstreamConfig) -> tuple[str, list[str]]:
    """A model, and texts that it knows."""
    if config.outcomes is None:
        return _MODEL, [f"[gold=a] document {number} " + "word " * 40 for number in range(1000)]
    source = OutcomeAnswers(Path(config.outcomes), datasets=config.dataset, models=config.models)
    model = source.models[0]
    return model, source.texts(model)


async def ask_all(url: str, requests: list[bytes], in_flight: int) -> float:
    """Seconds for all requests over that many connections."""
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    left, open_connections = iter(requests), in_flight

    def done() -> None:
        nonlocal open_connections
        open_connections -= 1
        if not open_connections:
            finished.set_result(None)

    host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    started = time.perf_counter()
    for _ in range(in_flight):
        await loop.create_connection(lambda: Asker(lambda: next(left, None), done), host, int(port))
    await finished
    return time.perf_counter() - started


def measure(config: UpstreamConfig, *, count: int, in_flight: int) -> dict[str, float | int]:
    """Requests per second seen, and processor microseconds per request in the server and in this client."""
    model, texts = documents(config)
    requests = [request_bytes(model, texts[number % len(texts)], number) for number in range(count)]
    with start_upstream(config) as upstream:
        before, client_cpu = upstream.stats(), time.process_time()
        elapsed = _run(ask_all(upstream.url, requests, in_flight))
        client_cpu = time.process_time() - client_cpu
        after = upstream.stats()
    return _figures(before, after, count=count, elapsed=elapsed, client_cpu=client_cpu)


def _figures(
    before: Stats, after: Stats, *, count: int, elapsed: float, client_cpu: float
) -> dict[str, float | int]:
    return {
        "requests": count,
        "answered_200": after.by_status.get("200", 0),
        "metered": after.metered - before.metered,
        "max_in_flight": after.max_in_flight,
        "requests_per_s": round(count / elapsed),
        "server_cpu_us": round((after.cpu_s - before.cpu_s) / count * 1e6, 1),
        "client_cpu_us": round(client_cpu / count * 1e6, 1),
    }


def _run(asking: Coroutine[None, None, float]) -> float:
    import uvloop

    return uvloop.run(asking)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one configuration."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstream.capacity", description=__doc__)
    parser.add_argument(
        "--config", metavar="FILE", help="an upstream's config; default: fixed reply, no meter"
    )
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--in-flight", type=int, default=64)
    given = parser.parse_args(argv)
    default = {"fixed_reply": "a", "no_meter": True, "free": True}
    config = config_from(read_config(Path(given.config)) if given.config else default)
    print(json.dumps(measure(config, count=given.requests, in_flight=given.in_flight)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
