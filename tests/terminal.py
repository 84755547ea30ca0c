"""A command at a terminal of its own, with a person who reads and types."""

import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from select import select

from tests.end_to_end.command import Tierwise

PATIENCE_S = 60.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


@dataclass
class Screen:
    """What was printed so far, without colours and cursor moves."""

    handle: int
    raw: bytes = field(default=b"")

    def text(self) -> str:
        return _CONTROL.sub("", self.raw.decode(errors="replace"))

    def wait_for(self, expected: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while expected not in self.text():
            assert time.monotonic() < until, f"{expected!r} did not come: {self.text()[-2000:]}"
            if select([self.handle], [], [], 0.1)[0]:
                try:
                    self.raw += os.read(self.handle, 65536)
                except OSError:  # the other end is closed
                    assert expected in self.text(), f"{expected!r} did not come: {self.text()[-2000:]}"

    def type(self, line: str) -> None:
        os.write(self.handle, f"{line}\n".encode())


@contextmanager
def at_terminal(command: Sequence[str], place: Tierwise) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=place.folder, env={**place.environment(), "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Screen(ours)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(ours)
