"""The sockets: a public door that can be shut, and a control door that stays open."""

import asyncio
import socket

from tests.upstream.http1 import Connection
from tests.upstream.server import Service

_BACKLOG = 4096


class Doors:
    """Listens on a public and a control port; both serve everything."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        _check_free(host, port)
        # Bound and never listening: keeps the port ours while the public door is shut.
        self._holder = _bound(host, port)
        self._port: int = self._holder.getsockname()[1]
        self._public: asyncio.Server | None = None
        self._control: asyncio.Server | None = None
        self._visitors: set[Connection] = set()
        self._operators: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._service: Service | None = None

    async def open(self, service: Service) -> tuple[str, str]:
        """Start listening; the public and the control address."""
        self._service = service
        await self._open_public()
        control = _bound(self._host, 0)
        self._control = await self._listen(control, self._operators)
        return f"http://{self._host}:{self._port}", f"http://{self._host}:{control.getsockname()[1]}"

    def set_down(self, down: bool, asker: Connection) -> None:
        """Shut or open the public door, then answer the asker."""
        if down:
            self._shut_public(asker)
            asker.reply(200, b"{}")
            return
        task = asyncio.get_running_loop().create_task(self._reopen(asker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Shut everything."""
        self._shut_public(None)
        if self._control is not None:
            self._control.close()
        for connection in list(self._operators):
            connection.cut()
        self._holder.close()

    async def _reopen(self, asker: Connection) -> None:
        if self._public is None:
            await self._open_public()
        asker.reply(200, b"{}")

    async def _open_public(self) -> None:
        self._public = await self._listen(_bound(self._host, self._port), self._visitors)

    async def _listen(self, sock: socket.socket, connections: set[Connection]) -> asyncio.Server:
        service = self._service
        assert service is not None
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: Connection(service.handle, service.refuse, connections), sock=sock, backlog=_BACKLOG
        )

    def _shut_public(self, spare: Connection | None) -> None:
        if self._public is not None:
            self._public.close()
            self._public = None
        for connection in list(self._visitors):
            if connection is not spare:
                connection.cut()


def _check_free(host: str, port: int) -> None:
    """OSError if the port is taken; two sockets that both share ports would not notice each other."""
    with _socket(host) as probe:
        probe.bind((host, port))


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _bound(host: str, port: int) -> socket.socket:
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock
