"""Reads named SQL: each statement stands under `-- name: …`, with a comment that says what it is."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read_sql(file: str) -> str:
    return files("pipeline.storage").joinpath(file).read_text(encoding="utf-8")


def named(text: str) -> dict[str, str]:
    """Name -> statement with its comment, in the file's order."""
    pieces = _NAME.split(text)[1:]
    return dict(zip(pieces[::2], (piece.strip() for piece in pieces[1::2]), strict=True))


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def escape_glob(path: str) -> str:
    """A path that DuckDB's file functions take as it stands."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
