"""Named statements of the .sql files beside, rendered once per number of parameter rows."""

from functools import cache
from pathlib import Path


@cache
def statements(file: str) -> dict[str, str]:
    """By name, without comments."""
    parts = Path(__file__).with_name(file).read_text("utf-8").split("-- name: ")[1:]
    named = (part.split("\n", 1) for part in parts)
    return {name.strip(): _bare(body) for name, body in named}


def _bare(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().rstrip(";")


@cache
def repeated(text: str, row: str, rows: int) -> str:
    """The text with that many parameter rows in place of {rows}."""
    return text.replace("{rows}", ", ".join([row] * rows))
