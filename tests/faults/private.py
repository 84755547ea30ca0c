"""Services of a test's own, to be killed and started again: a RabbitMQ node, a Redis server, a PostgreSQL cluster.

Each listens on a free port and keeps its data in a folder that goes with it. A missing program skips by name, and
in CI fails.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

_START_S = 90.0
_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/lib/postgresql/*/bin", "/usr/local/sbin", "/usr/sbin")


class Service(Protocol):
    """Something with an address that can be taken away and given back."""

    url: str

    def crash(self) -> None:
        """End it as a power cut would; returns when it is gone."""
        ...

    def start(self) -> None:
        """Returns when it answers."""
        ...


def restart(service: Service, away_s: float = 0.0) -> None:
    service.crash()
    time.sleep(away_s)
    service.start()


class Postgres:
    """A cluster of its own; `crash` is `pg_ctl stop -m immediate`."""

    def __init__(self, folder: Path) -> None:
        self._tools = Path(program("initdb", "PostgreSQL")).resolve().parent
        self._data, self._log = folder / "data", folder / "log"
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run(
            "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"
        )
        listen = f"port = {self._port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(listen + "max_connections = 60\nshared_buffers = 64MB\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-l", self._log, "-w", "-t", int(_START_S), "start")

    def crash(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def _run(self, tool: str, *arguments: object) -> None:
        """As the user postgres where we are root: its server refuses to run as root."""
        command = [*_as("postgres"), str(self._tools / tool), *map(str, arguments)]
        said = self._data.parent / "said"  # no pipe: the server would keep it open
        with said.open("ab") as out:
            subprocess.run(
                command, check=True, stdout=out, stderr=out, cwd=self._data.parent, timeout=_START_S
            )


class _Daemon:
    """A process in a group of its own, ended by kill -9."""

    url: str

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str], port: int) -> None:
        self._command, self._folder, self._environment, self._port = command, folder, environment, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            _until(
                self._answers, self._command[0], lambda: self._process is None or self._process.poll() is None
            )
        except TimeoutError as error:
            said = (self._folder / "log").read_text("utf-8", "replace")[-3000:]
            raise RuntimeError(f"{error}: {said}") from None

    def crash(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


class Redis(_Daemon):
    """Keeps nothing on disk: what was queued is lost with it."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [program("redis-server", "Redis"), "--port", str(port), "--bind", "127.0.0.1"]
        super().__init__([*command, "--save", "", "--appendonly", "no"], folder, dict(os.environ), port)
        self.start()


class RabbitMQ(_Daemon):
    """A node with its own name, ports and folders; its messages are on disk."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        for name in ("mnesia", "logs"):
            (folder / name).mkdir()
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.local = 127.0.0.1:{port}\n")
        (folder / "enabled_plugins").write_text("[].\n")
        environment = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"tierwise{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        super().__init__([program("rabbitmq-server", "RabbitMQ")], folder, environment, port)
        self.start()

    def _answers(self) -> bool:
        """The port opens before the node can be used."""
        from kombu.connection import Connection

        if not super()._answers():
            return False
        with suppress(Exception), Connection(self.url, connect_timeout=3) as connection:
            connection.connect()
            return True
        return False


@contextmanager
def private(kind: Callable[[Path], Service]) -> Iterator[Service]:
    """A service of this kind until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tierwise-service-"))
    if kind is Postgres and os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    service: Service | None = None
    try:
        service = kind(folder)
        yield service
    finally:
        if service is not None:
            with suppress(subprocess.CalledProcessError):
                service.crash()
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str, service: str) -> str:
    """Its path; those of Debian lie outside PATH, or behind a script that insists on one node."""
    for place in _PLACES:
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if (folder / name).exists():
                return str(folder / name)
    found = shutil.which(name)
    return found if found is not None else absent(f"{name} ({service}) is not installed")


def absent(why: str) -> str:
    """Skip by name; in CI fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _as(user: str) -> list[str]:
    return ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []


def _until(ready: Callable[[], bool], what: str, alive: Callable[[], bool]) -> None:
    end = time.monotonic() + _START_S
    while not ready():
        if not alive() or time.monotonic() > end:
            raise TimeoutError(f"{what} did not start")
        time.sleep(0.05)
