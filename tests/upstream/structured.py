"""Structured output: the answer in the JSON shape that the request's schema asks for."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from tests.upstream.wire import ChatRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """JSON text to put around the answer."""

    before: str
    after: str
    bare: bool  # numbers and booleans stand without quotes

    def wrap(self, answer: str) -> str:
        """The answer as a JSON document."""
        return self.before + self._value(answer) + self.after

    def _value(self, answer: str) -> str:
        if self.bare and _is_json(answer):
            return answer.strip()
        return msgspec.json.encode(answer).decode()


def shape_of(request: ChatRequest) -> Shape | None:
    """The shape asked for; None where the plain answer is the content."""
    wanted = request.response_format
    if wanted is None or wanted.type != "json_schema" or wanted.json_schema is None:
        return None
    schema = bytes(wanted.json_schema.schema)
    return _shape(schema) if schema else None


@lru_cache(maxsize=256)
def _shape(schema: bytes) -> Shape | None:
    properties = _properties(msgspec.json.decode(schema))
    if len(properties) != 1:
        return None
    ((name, prop),) = properties.items()
    key = "{" + msgspec.json.encode(name).decode() + ":"
    kind = prop.get("type") if isinstance(prop, dict) else None
    if kind == "array":
        return Shape(before=key + "[", after="]}", bare=False)
    return Shape(before=key, after="}", bare=kind in ("integer", "number", "boolean"))


def _properties(schema: Any) -> dict[str, Any]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
