"""The `tierwise` command in this process: the same words and exit codes without the time a start takes."""

import json
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any
from unittest.mock import patch

from jobs.cli import main
from tests.end_to_end.command import Tierwise


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as exactly one JSON document, without the NaN that only Python reads."""
        return json.loads(self.out, parse_constant=_refuse)


def tierwise(place: Tierwise, *arguments: str, code: int | None = 0) -> Said:
    """Run a command; fails with what it printed when the exit code is another. None: any."""
    out, err = StringIO(), StringIO()
    ended: object = None
    with (
        patch.dict(os.environ, place.environment(), clear=True),
        chdir(place.folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main(list(arguments))
        except SystemExit as end:
            ended = end.code
    said = Said(code=ended if isinstance(ended, int) else 0, out=out.getvalue(), err=err.getvalue())
    assert code is None or said.code == code, f"exit {said.code}: {said.out[-2000:]}{said.err[-2000:]}"
    return said


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
