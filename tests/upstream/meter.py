"""The meter: one durable JSONL line per billed request, written before the first byte of its reply."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from tests.upstream.chaos import Kind
from tests.upstream.pricing import TokenCounts

Endpoint = Literal["chat", "embeddings"]
Durable = Callable[[], None]


class MeterError(RuntimeError):
    """The meter file cannot be used; nothing is answered without it."""


class MeterLine(msgspec.Struct, frozen=True, kw_only=True):
    """One billed request; equal keys are billed again, as providers do."""

    seq: int  # 1, 2, 3 … in the order of the file, also over restarts
    time: float  # unix seconds when the request was read
    key: str | None  # the Idempotency-Key header
    endpoint: Endpoint
    outcome: Kind  # what became of the reply
    model: str
    input: int  # tokens by class, from here to `reasoning`
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    nano: int  # the price in nano-dollars


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a billed request before it has a place in the meter."""

    key: str | None
    endpoint: Endpoint
    outcome: Kind
    model: str
    tokens: TokenCounts
    nano: int


class Meter(Protocol):
    """Where bills go."""

    total_nano: int  # durable nano-dollars
    lines: int  # durable lines

    def append(self, bill: Bill, durable: Durable) -> None:
        """Note the bill; `durable` is called in the event loop once the line survives a crash."""

    def close(self) -> None:
        """Write and sync what is still waiting."""


class NoMeter:
    """Bills nobody: for benchmarks."""

    total_nano = 0
    lines = 0

    def append(self, bill: Bill, durable: Durable) -> None:
        """Durable at once, since nothing is kept."""
        durable()

    def close(self) -> None:
        """Nothing waits."""


class FileMeter:
    """Appends to a file, one fsync for all lines that gathered while the previous fsync ran."""

    def __init__(self, path: Path, *, on_failure: Callable[[BaseException], None]) -> None:
        self._fd = _open(path)
        lines = recover(path)
        self.lines = len(lines)
        self.total_nano = sum(line.nano for line in lines)
        self._seq = self.lines
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "meter")
        self._encoder = msgspec.json.Encoder()
        self._waiting: list[tuple[bytes, int, Durable]] = []
        self._running = False

    def append(self, bill: Bill, durable: Durable) -> None:
        """Queue the line for the next fsync."""
        self._seq += 1
        self._waiting.append((self._encoder.encode(_line(self._seq, bill)) + b"\n", bill.nano, durable))
        if not self._running:
            self._running = True
            # After this turn of the loop, so that all it reads shares one fsync.
            self._loop.call_soon(self._start)

    def close(self) -> None:
        """Write and sync what is still waiting."""
        self._thread.shutdown(wait=True)
        group, self._waiting = self._waiting, []
        _write_durably(self._fd, b"".join(line for line, _, _ in group))
        os.close(self._fd)

    def _start(self) -> None:
        group, self._waiting = self._waiting, []
        job = self._thread.submit(_write_durably, self._fd, b"".join(line for line, _, _ in group))
        job.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._finish, done, group))

    def _finish(self, done: "Future[None]", group: list[tuple[bytes, int, Durable]]) -> None:
        failure = done.exception()
        if failure is not None:
            self._on_failure(failure)
            return
        self.lines += len(group)
        self.total_nano += sum(nano for _, nano, _ in group)
        if self._waiting:
            self._start()
        else:
            self._running = False
        for _, _, durable in group:
            durable()


def read_lines(path: Path, offset: int = 0) -> tuple[list[MeterLine], int]:
    """The whole lines from a byte offset on, and the offset after them; a torn last line is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return msgspec.json.decode(
        b"[" + b",".join(whole.splitlines()) + b"]", type=list[MeterLine]
    ), offset + len(whole)


def recover(path: Path) -> list[MeterLine]:
    """The lines of an earlier run; a torn tail is dropped, since its request was never answered."""
    lines, size = read_lines(path)
    os.truncate(path, size)
    return lines


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise MeterError(f"{path} is in use by another upstream; give each its own meter") from error
    return fd


def _line(seq: int, bill: Bill) -> MeterLine:
    tokens = bill.tokens
    return MeterLine(
        seq=seq,
        time=time.time(),
        key=bill.key,
        endpoint=bill.endpoint,
        outcome=bill.outcome,
        model=bill.model,
        input=tokens.input,
        cached_input=tokens.cached_input,
        cache_write=tokens.cache_write,
        output=tokens.output,
        reasoning=tokens.reasoning,
        nano=bill.nano,
    )


def _write_durably(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
    os.fsync(fd)
