"""HTTP/1.1 on a raw protocol: keep-alive, Content-Length bodies, one request at a time per connection."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

_HEAD_END = b"\r\n\r\n"
_HEADERS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|authorization|idempotency-key|expect):([^\r\n]*)",
    re.IGNORECASE,
)
_MAX_HEAD = 64 * 1024
_MAX_BODY = 64 * 1024 * 1024
_MAX_AHEAD = 1024 * 1024  # bytes read while a request is still being answered
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


@dataclass(slots=True)
class Request:
    """A request; only the headers that matter here are kept, with names in lower case."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes = b""


class RequestError(Exception):
    """A request that cannot be read; it gets this status and the connection is closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Connection(asyncio.Protocol):
    """One client; hands each request to `handle`, which ends it by one of reply, cut and cut_body."""

    def __init__(
        self,
        handle: Callable[["Connection", Request], None],
        refuse: Callable[["Connection", RequestError], None],
        connections: set["Connection"],
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._request: Request | None = None  # the head that was read, while its body is awaited
        self._body_size = 0
        self._busy = False
        self._paused = False
        self._keep_alive = True
        self.on_end: Callable[[], None] | None = (
            None  # called once when the request ends, also by a lost client
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away, or was cut."""
        self._transport = None
        self._buffer = b""
        self._connections.discard(self)
        self._end()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived; answered in order, one request after the other."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy:
            self._advance()
        elif len(self._buffer) > _MAX_AHEAD and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    @property
    def is_open(self) -> bool:
        """Whether a reply can still be sent."""
        return self._transport is not None

    def reply(self, status: int, body: bytes, extra: bytes = b"") -> None:
        """Send a whole JSON reply; `extra` holds further header lines, each with its line end."""
        if self._transport is None:
            return
        self._transport.write(self._head(status, len(body), extra) + body)
        self._finish()

    def cut_body(self, status: int, body: bytes) -> None:
        """Announce the whole body, send half of it, close."""
        if self._transport is None:
            return
        self._transport.write(self._head(status, len(body), b"") + body[: len(body) // 2])
        self._transport.close()

    def cut(self) -> None:
        """Reset the connection without a byte."""
        if self._transport is not None:
            self._transport.abort()

    def refuse(self, status: int, body: bytes) -> None:
        """Reply and close, since the rest of the input cannot be understood."""
        self._keep_alive = False
        self.reply(status, body)

    def _head(self, status: int, size: int, extra: bytes) -> bytes:
        close = b"" if self._keep_alive else b"Connection: close\r\n"
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n%b%b\r\n" % (
            _STATUS_LINES[status],
            size,
            close,
            extra,
        )

    def _finish(self) -> None:
        self._end()
        self._busy = False
        if self._transport is None:
            return
        if not self._keep_alive:
            self._transport.close()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._buffer:
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._busy and self._transport is not None:
            self._advance()

    def _end(self) -> None:
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end()

    def _advance(self) -> None:
        try:
            if self._request is None and not self._read_head():
                return
        except RequestError as bad:
            self._buffer, self._busy = b"", True
            self._refuse(self, bad)
            return
        request = self._request
        if request is None or len(self._buffer) < self._body_size:
            return
        request.body = self._buffer[: self._body_size]
        self._buffer = self._buffer[self._body_size :]
        self._request, self._busy = None, True
        self._handle(self, request)

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise RequestError(431, "request head over 64 KiB")
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end + len(_HEAD_END) :]
        request, version = _parse_head(head)
        self._body_size = _body_size(request)
        self._keep_alive = (
            version == b"HTTP/1.1" and request.headers.get(b"connection", b"").lower() != b"close"
        )
        self._request = request
        if (
            self._body_size > len(self._buffer)
            and b"expect" in request.headers
            and self._transport is not None
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True


def _parse_head(head: bytes) -> tuple[Request, bytes]:
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise RequestError(400, "not an HTTP/1.1 request line")
    headers = {name.lower(): value.strip() for name, value in _HEADERS.findall(head)}
    return Request(words[0], words[1].partition(b"?")[0], headers), words[2]


def _body_size(request: Request) -> int:
    length = request.headers.get(b"content-length")
    if b"transfer-encoding" in request.headers or (length is None and request.method == b"POST"):
        raise RequestError(411, "send the body with Content-Length; chunked bodies are not read")
    if length is None:
        return 0
    if not length.isdigit():
        raise RequestError(400, "Content-Length is not a number")
    if int(length) > _MAX_BODY:
        raise RequestError(413, "body over 64 MiB")
    return int(length)
