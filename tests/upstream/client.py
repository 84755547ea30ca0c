"""For tests: start an upstream in a process of its own, steer it, and read its meter."""

import atexit
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.upstream.config import UpstreamConfig
from tests.upstream.meter import MeterLine, read_lines
from tests.upstream.traffic import Stats

_REPO_ROOT = Path(__file__).resolve().parents[2]


class UpstreamError(RuntimeError):
    """The upstream did not start, or refused a control request; the message is its own."""


class _Ready(msgspec.Struct, frozen=True):
    url: str
    control: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A running upstream; ends with its `with` block."""

    url: str  # base URL for clients, ends in /v1
    control_url: str  # stays reachable while the upstream is down
    pid: int
    config: UpstreamConfig  # as started: with the meter's path and the real port
    process: "subprocess.Popen[bytes]"
    folder: Path

    @property
    def meter_path(self) -> Path:
        """The meter file; it outlives the process."""
        if self.config.meter is None:
            raise UpstreamError("this upstream was started with no_meter")
        return Path(self.config.meter)

    def meter_lines(self) -> list[MeterLine]:
        """Every durable line, read from the file: also after stop or kill."""
        return read_lines(self.meter_path)[0]

    def meter_total_nano(self) -> int:
        """The sum of the durable lines, in nano-dollars."""
        return sum(line.nano for line in self.meter_lines())

    def control(self, **changes: Any) -> None:
        """Change the behaviour of a running upstream: the fields of ControlChange."""
        self._ask(self.control_url, msgspec.json.encode(changes))

    def stats(self) -> Stats:
        """The counters."""
        return msgspec.json.decode(self._ask(f"{self.control_url}/stats", None), type=Stats)

    def stop(self) -> None:
        """End it in good order; harmless when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
        _close_pipes(self.process)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        _close_pipes(self.process)

    def restart(self) -> "Upstream":
        """After stop or kill: another process on the same port and meter."""
        return _start(self.config, self.folder, timeout_s=60)

    def errors(self) -> str:
        """What it wrote to standard error."""
        return _errors(self.folder)

    def _ask(self, url: str, body: bytes | None) -> bytes:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise UpstreamError(error.read().decode("utf-8", "replace")) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_upstream(config: UpstreamConfig, *, timeout_s: float = 60) -> Upstream:
    """Start a process and wait until it listens; UpstreamError with its own words if it refuses.

    Without a meter path the meter lies in a temporary folder that is removed when this process ends.
    """
    return _start(config, _scratch_folder(), timeout_s=timeout_s)


def _start(config: UpstreamConfig, folder: Path, *, timeout_s: float) -> Upstream:
    config = _resolved(config, folder)
    path = folder / "config.json"
    path.write_text(config.to_json(), "utf-8")
    with (folder / "stderr").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.upstream", "--config", str(path)],
            cwd=_REPO_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    ready = _await_ready(process, folder, timeout_s)
    port = int(ready.url.removesuffix("/v1").rpartition(":")[2])
    return Upstream(
        url=ready.url,
        control_url=ready.control,
        pid=ready.pid,
        config=replace(config, port=port),
        process=process,
        folder=folder,
    )


def _scratch_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="upstream-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _resolved(config: UpstreamConfig, folder: Path) -> UpstreamConfig:
    """With a meter, and paths that hold in the repository's root, where the process runs."""
    meter = config.meter if config.meter or config.no_meter else str(folder / "meter.jsonl")
    return replace(
        config,
        meter=meter and str(Path(meter).absolute()),
        outcomes=config.outcomes and str(Path(config.outcomes).absolute()),
        prices=str(Path(config.prices).absolute()) if isinstance(config.prices, str) else config.prices,
        exit_with_stdin=True,
    )


def _await_ready(process: "subprocess.Popen[bytes]", folder: Path, timeout_s: float) -> _Ready:
    assert process.stdout is not None
    alarm = threading.Timer(timeout_s, process.kill)
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if line:
        return msgspec.json.decode(line, type=_Ready)
    process.kill()
    process.wait()
    _close_pipes(process)
    raise UpstreamError(_errors(folder) or f"no ready line within {timeout_s} s")


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _errors(folder: Path) -> str:
    return (folder / "stderr").read_text("utf-8", "replace")
