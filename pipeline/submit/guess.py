"""What a file's columns are for, from its names and its first rows: document, id, label."""

import re
from collections.abc import Sequence
from statistics import mean
from typing import Any

import msgspec

from pipeline.sources import UNREADABLE, Row

MOST_LABELS = 200
LONGEST_LABEL = 80  # characters
_AMOUNT = re.compile(r"[-+]?\d+[.,]\d+")
_IDS = ("id", "key", "uuid", "guid", "number", "nr", "no")
_LABELS = ("label", "gold", "category", "class", "intent", "topic", "target", "tag", "sentiment", "type")
_TEXTS = ("text", "document", "body", "message", "content", "description", "review", "question", "query")


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """`text` None: no column holds text."""

    text: str | None
    id: str | None  # None: the row's number
    label: str | None  # None: nothing looks like an answer
    labels: tuple[str, ...]  # its values in the rows seen, the most frequent first


def guess(rows: Sequence[Row], *, text: str | None = None, label: str | None = None) -> Guess:
    """From some hundred rows; `text` and `label` are taken as said. Values are compared as text."""
    columns = _columns(rows)
    text = text or _best(columns, _texture)
    rest = {name: cells for name, cells in columns.items() if name != text}
    label = label or _best(rest, _labelling)
    rest.pop(label, None)  # type: ignore[arg-type]
    counted: dict[str, int] = {}
    for cell in columns.get(label, ()) if label else ():
        counted[cell] = counted.get(cell, 0) + 1
    ordered = sorted(counted, key=lambda value: (-counted[value], value))
    return Guess(text=text, id=_best(rest, _identity), label=label, labels=tuple(ordered))


def _columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Their values that are there, as text; in the order of the file."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if UNREADABLE in row:
            continue
        for name, value in row.items():
            cells = found.setdefault(name, [])
            if value is not None and value != "":
                cells.append(value if isinstance(value, str) else str(value))
    return {name: cells for name, cells in found.items() if cells}


def _best(columns: dict[str, list[str]], rate: Any) -> str | None:
    """The column rated highest above 0; the first of equals."""
    rated = [(rate(name, cells), name) for name, cells in columns.items()]
    top = max((score for score, _ in rated), default=0.0)
    return next((name for score, name in rated if score == top), None) if top > 0 else None


def _texture(name: str, cells: list[str]) -> float:
    """Words in a cell; a telling name counts as much as being twice as long."""
    words = mean(len(cell.split()) for cell in cells)
    return (words - 1.5) * (2 if _named(name, _TEXTS) else 1)


def _labelling(name: str, cells: list[str]) -> float:
    """Few short values that come again and again, and more than one of them."""
    values = set(cells)
    if not 2 <= len(values) <= min(MOST_LABELS, len(cells) // 2) or max(map(len, values)) > LONGEST_LABEL:
        return 0.0
    return 1 + _named(name, _LABELS) - len(values) / len(cells)


def _identity(name: str, cells: list[str]) -> float:
    """No value twice, or one cell in twenty where the name tells; amounts are no ids."""
    named = _named(name, _IDS)
    repeated = 1 - len(set(cells)) / len(cells)
    if repeated > (0.05 if named else 0) or max(map(len, cells)) > 200:
        return 0.0
    plain = not any(" " in cell for cell in cells) and not all(_AMOUNT.fullmatch(cell) for cell in cells)
    return 1.0 + named if named or plain else 0.0


def _named(name: str, known: Sequence[str]) -> bool:
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return any(word in known or word.rstrip("s") in known for word in words)
