"""The named statements of hot.sql, rendered once per dialect and size of group."""

from functools import cache
from pathlib import Path

_ROWS = {  # how one parameter row of a statement looks
    "calls_to_settle": "?",
    "balances": "?",
    "gates": "(?, ?, ?)",
    "former_calls": "(?, ?, ?)",
    "insert_holds": "(" + "?, " * 17 + "'held')",
    "journal": "(" + ", ".join("?" * 15) + ")",
    "move_balances": "",
}


@cache
def _texts() -> dict[str, str]:
    parts = Path(__file__).with_name("hot.sql").read_text("utf-8").split("-- name: ")[1:]
    named = (part.split("\n", 1) for part in parts)
    return {name.strip(): _bare(body) for name, body in named}


def _bare(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().rstrip(";")


@cache
def render(name: str, rows: int, postgresql: bool) -> str:
    """The text for that many parameter rows, with the placeholders of the dialect's driver."""
    text = _texts()[name].replace("{rows}", ", ".join([_ROWS[name]] * rows))
    text = text.replace("{lock}", "FOR UPDATE" if postgresql else "")
    text = text.replace("{bytes}", "::bytea" if postgresql else "")
    return text.replace("?", "%s") if postgresql else text
