"""What one check of a doctor found, with the way out."""

from typing import Literal

import msgspec

from schemas.errors import TierwiseError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    name: str
    state: Literal["ok", "warning", "failed"]
    said: str
    fix: str = ""
    exit_code: int = 0  # where it failed


def failed(name: str, error: TierwiseError) -> Finding:
    return Finding(name=name, state="failed", said=error.message, fix=error.fix, exit_code=error.exit_code)


def graded(name: str, said: str, warning: bool, fix: str) -> Finding:
    """ok, or a warning with its fix."""
    return Finding(name=name, state="warning" if warning else "ok", said=said, fix=fix if warning else "")
