"""Personal data is replaced before anything is sent or journalled, and put back into the result."""

import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from schemas.records import Value

_PATTERNS = {
    "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b"),
    "card": re.compile(r"\b\d(?:[ -]?\d){12,18}\b"),
    "phone": re.compile(r"(?<![\w-])(?:\+|00)?\d(?:[ ()/.-]{0,2}\d){6,14}(?![\w-])"),
}
_ORDER = ("email", "iban", "card", "phone")  # the more specific first: a card number looks like a phone's


def mask(text: str, kinds: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The text with placeholders, and what each stands for. Equal values get equal placeholders, and none
    that the text holds already."""
    original = text
    restored: dict[str, str] = {}
    names: dict[str, str] = {}

    for kind in _ORDER:
        if kind not in kinds:
            continue
        free = (f"[{kind.upper()}_{number}]" for number in count(1))

        def replace(match: re.Match[str], free: Iterator[str] = free) -> str:
            value = match.group()
            if value not in names:
                names[value] = next(name for name in free if name not in original)
                restored[names[value]] = value
            return names[value]

        text = _PATTERNS[kind].sub(replace, text)
    return text, restored


def unmask(value: Value | None, restored: dict[str, str]) -> Value | None:
    """The answer with the placeholders replaced by what they stood for."""
    return _restore(value, restored) if restored and value is not None else value


def _restore(value: Any, restored: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, original in restored.items():
            value = value.replace(name, original)
        return value
    if isinstance(value, list):
        return [_restore(each, restored) for each in value]
    if isinstance(value, dict):
        return {key: _restore(each, restored) for key, each in value.items()}
    return value
