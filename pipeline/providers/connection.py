"""One HTTP/1.1 connection: one request at a time, its reply read by llhttp. Source: RFC 9112."""

import asyncio
import zlib
from time import perf_counter
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pipeline.providers.retry_after import retry_after
from schemas.records import Reply

MAX_BODY = 8 * 2**20  # bytes of a reply; an answer is a few kilobytes
MAX_HEAD = 2**16  # bytes of its status line and headers


class Connection(asyncio.Protocol):
    """Waits in `idle` between requests. What `ask` returns never fails: a Reply says what is known."""

    def __init__(self, idle: list["Connection"], keepalive_s: float) -> None:
        self._idle, self._keepalive_s = idle, keepalive_s
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self.on_header = self._headers.__setitem__  # called for each: a C function costs least
        self.on_body = self._chunks.append
        self._parser = HttpResponseParser(self)
        self._asked: asyncio.Future[Reply] | None = None
        self._reply: Reply | None = None  # whole, while what came with it is still being read
        self._began = 0.0
        self._size = 0  # bytes received since the request
        self._headed = self._reusable = False
        self.is_open = False
        self.deadline = 0.0  # by perf_counter: of the call, or of being idle

    def ask(self, request: bytes, began: float, deadline: float) -> "asyncio.Future[Reply]":
        """Write the request at once. Times are perf_counter's; the latency counts from `began`."""
        asked = self._asked = self._loop.create_future()
        self._began, self.deadline = began, deadline
        self._headers.clear()
        self._chunks.clear()
        self._size = 0
        self._headed = self._reusable = False
        if self._transport.is_closing():
            self._end(Reply(status=0, sent=False, complete=False, error="the connection was closed"))
        else:
            self._transport.write(request)
        return asked

    def look(self, now: float) -> None:
        """End what has lasted too long: the call, or being idle."""
        if now < self.deadline:
            return
        if self._asked is not None:
            self._lose("timeout: no complete reply in time")
        else:
            self.is_open = False
            self._transport.close()

    def abort(self) -> None:
        """End it now; a call in flight is lost."""
        self._lose("the call was given up")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not registered as one
        self._loop = asyncio.get_running_loop()
        self.deadline = perf_counter() + self._keepalive_s
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._asked is None:
            return
        if exc is None and self._headed and self._ends_with_connection():
            self._end(self._read())
        else:
            self._lose(f"{type(exc).__name__}: {exc}" if exc else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        if self._asked is None:
            self.abort()  # nobody asked: it would be taken for the next reply
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._reusable = False
            if self._reply is None:
                self._lose(f"no HTTP: {type(error).__name__}: {error}")
        if self._reply is not None:
            self._end(self._reply, reusable=self._reusable)
        elif not self._headed and self._size > MAX_HEAD:
            self._lose(f"headers over {MAX_HEAD} bytes")
        elif self._size > MAX_HEAD + MAX_BODY:
            self._end(self._read())

    def on_message_begin(self) -> None:
        self._reusable = False  # also when something follows the reply

    def on_headers_complete(self) -> None:
        if self._reply is None:
            self._headed = self._parser.get_status_code() >= 200  # 100 Continue announces the reply

    def on_message_complete(self) -> None:
        if not self._headed:
            self._headers.clear()
        elif self._reply is None:
            self._reply = self._read()
            self._reusable = self._parser.should_keep_alive()

    def _ends_with_connection(self) -> bool:
        names = {name.lower() for name in self._headers}
        return not names & {b"content-length", b"transfer-encoding"}

    def _read(self) -> Reply:
        """What came. A reply longer than any that is wanted is cut, and then known only by its status, which says
        what happened where it is an error's."""
        status = self._parser.get_status_code()
        headers = {name.lower(): value for name, value in self._headers.items()}
        body = b"".join(self._chunks)
        if encoding := headers.get(b"content-encoding"):
            body = _unpacked(body, encoding.lower())
        within = len(body) <= MAX_BODY
        return Reply(
            status=status,
            body=body if within else body[:MAX_BODY],
            complete=within or status >= 400,
            retry_after_s=retry_after(headers) if status >= 400 else None,
            error="" if within else f"reply over {MAX_BODY} bytes",
            latency_ms=self._latency_ms(),
        )

    def _lose(self, why: str) -> None:
        """The request may have reached the provider; what became of it is unknown."""
        status = self._parser.get_status_code() if self._headed else 0
        self._end(Reply(status=status, complete=False, error=why[:500], latency_ms=self._latency_ms()))

    def _end(self, reply: Reply, *, reusable: bool = False) -> None:
        asked, self._asked, self._reply = self._asked, None, None
        if reusable and self.is_open:
            self.deadline = perf_counter() + self._keepalive_s
            self._idle.append(self)
        else:
            self.is_open = False
            self._transport.abort()
        if asked is not None and not asked.done():
            asked.set_result(reply)

    def _latency_ms(self) -> int:
        return round((perf_counter() - self._began) * 1000)


def _unpacked(body: bytes, encoding: bytes) -> bytes:
    """The body without its gzip or deflate; as it is where that fails: it cannot be read, but it came."""
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        return body
    for wbits in (47, -15):  # gzip or zlib by their heads, then bare deflate
        unpacker = zlib.decompressobj(wbits)
        try:
            unpacked = unpacker.decompress(body, MAX_BODY + 1)
        except zlib.error:
            continue
        if unpacker.eof or len(unpacked) > MAX_BODY:
            return unpacked
    return body
