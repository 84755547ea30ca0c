"""The HTTP connections of a process. What the wire does comes back as a Reply, never as an exception."""

import asyncio
import socket
import ssl
from time import perf_counter
from typing import Any

from aiohappyeyeballs import start_connection

from pipeline.providers.connection import Connection
from pipeline.providers.endpoint import Endpoint
from schemas.records import Reply

SWEEP_S = 0.1  # between looks at what has lasted too long: no timer per call
ADDRESSES_S = 60.0  # for which a name's addresses are believed
_NEXT_ADDRESS_S = 0.25  # until the next address is tried beside one that does not answer (RFC 8305)


class HttpClient:
    """Connections are kept for reuse and not limited: tiers are. It belongs to the loop that first sends."""

    def __init__(self, *, keepalive_s: float = 75.0) -> None:
        self._keepalive_s = keepalive_s
        self._pools: dict[tuple[str, int, bool], _Pool] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    async def post(self, endpoint: Endpoint, body: bytes, key: str) -> Reply:
        """Send once, with `key` as Idempotency-Key: neither repeated nor redirected here."""
        began = perf_counter()
        pool = self._pools.get((endpoint.host, endpoint.port, endpoint.tls)) or self._pool(endpoint)
        connection = pool.take()
        if connection is None:
            try:
                async with asyncio.timeout(endpoint.connect_s):
                    connection = await pool.connect()
            except Exception as error:  # whatever it was, no byte of the request was written
                return _not_sent(error, began)
            if self._sweeping is None:
                self._sweep()
        answer = connection.ask(endpoint.request(body, key), began, began + endpoint.timeout_s)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.abort()
            raise

    async def close(self) -> None:
        """Close every connection; sending again opens new ones."""
        pools, self._pools = self._pools, {}
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for pool in pools.values():
            pool.close()
        await asyncio.sleep(0)  # the transports close in the loop's next turn

    def _pool(self, endpoint: Endpoint) -> "_Pool":
        pool = _Pool(endpoint, self._keepalive_s)
        self._pools[endpoint.host, endpoint.port, endpoint.tls] = pool
        return pool

    def _sweep(self) -> None:
        """Again and again while there are connections."""
        now = perf_counter()
        if any([pool.look(now) for pool in self._pools.values()]):
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        else:
            self._sweeping = None


class _Pool:
    """The connections to one host and port."""

    def __init__(self, endpoint: Endpoint, keepalive_s: float) -> None:
        self._host, self._port = endpoint.host, endpoint.port
        self._context = _tls() if endpoint.tls else None
        self._keepalive_s = keepalive_s
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []  # the last used last
        self._addresses: list[Any] = []
        self._believed_until = 0.0
        self._resolving = asyncio.Lock()  # a thousand calls that begin together look the name up once

    def take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolve(loop)
        try:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=loop
            )
        except OSError:
            self._believed_until = 0.0
            raise
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._idle, self._keepalive_s),
                sock=sock,
                ssl=self._context,
                server_hostname=self._host if self._context else None,
            )
        except BaseException:
            sock.close()
            raise
        self._all.add(connection)
        return connection

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        async with self._resolving:
            if perf_counter() >= self._believed_until:
                self._addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._believed_until = perf_counter() + ADDRESSES_S
            return self._addresses

    def look(self, now: float) -> bool:
        """Whether connections are left."""
        gone = []
        for connection in self._all:
            if connection.is_open:
                connection.look(now)
            else:
                gone.append(connection)
        self._all.difference_update(gone)
        return bool(self._all)

    def close(self) -> None:
        for connection in self._all:
            connection.abort()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _not_sent(error: Exception, began: float) -> Reply:
    why = "timeout of connecting" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
    latency_ms = round((perf_counter() - began) * 1000)
    return Reply(status=0, sent=False, complete=False, error=why[:500], latency_ms=latency_ms)
