"""Logs as text for people or as one JSON object a line for machines: what is being worked on stands in each line of it,
and what looks like a secret in none."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from schemas.ids import QueryId
from schemas.secrets import Concealer, hide

Form = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]
ONCE: Mapping[str, object] = {"once": True}  # `extra` of what would else be said for each call of a batch
# at debug they log signed requests and tokens
CHATTY = ("botocore", "aiobotocore", "boto3", "s3fs", "fsspec")

_WHERE: ContextVar[Mapping[str, object]] = ContextVar("where", default=MappingProxyType({}))
QUERY: ContextVar[QueryId | None] = ContextVar("query", default=None)  # that this task answers
_SECRET = re.compile(r"(?i)(?:key|token|secret|password|credentials?)$")
_REMEMBERED = 1000  # batches and messages


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """What is logged inside concerns this job, generation, batch …"""
    token = _WHERE.set({**_WHERE.get(), **fields})
    try:
        yield
    finally:
        _WHERE.reset(token)


def set_up(form: Form, level: Level) -> None:
    """For the whole process, once. What is raised and not caught becomes a line like any other."""
    handler = logging.StreamHandler()
    environment = (value for name, value in os.environ.items() if _SECRET.search(name))
    concealer = Concealer(*environment)
    handler.setFormatter(JsonFormatter(concealer) if form == "json" else TextFormatter(concealer))
    handler.addFilter(_Once())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(max(logging.INFO, logging.getLogger().level))
    if form == "json":
        sys.excepthook = lambda *raised: logging.getLogger("tierwise").critical("ended", exc_info=raised)
        threading.excepthook = lambda args: logging.getLogger("tierwise").critical(
            "a thread ended", exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        )


class _Once(logging.Filter):
    """Lets the first line of a kind through for each batch where it is marked ONCE."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[object, ...]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "once", False):
            return True
        key = (record.name, record.msg, *_WHERE.get().values())
        if len(self._said) > _REMEMBERED:
            self._said.clear()
        known = key in self._said
        self._said.add(key)
        return not known


class TextFormatter(logging.Formatter):
    def __init__(self, concealer: Concealer) -> None:
        super().__init__("%(asctime)s %(name)s %(message)s")
        self._concealer = concealer

    def format(self, record: logging.LogRecord) -> str:
        return hide(self._concealer.text(super().format(record)))


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, then what it is about; `fields` of the record (`extra`) come last."""

    def __init__(self, concealer: Concealer) -> None:
        super().__init__()
        self._concealer = concealer

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
            "process": record.process,
            **_WHERE.get(),
            **_task(record),
            **getattr(record, "fields", {}),
        }
        if (query := QUERY.get()) is not None:
            line["query_id"] = query
        if record.exc_info:
            line["error"] = self._clean(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()

    def _clean(self, text: str) -> str:
        return hide(self._concealer.text(text))


def _task(record: logging.LogRecord) -> dict[str, Any]:
    """Celery's own lines name the task."""
    data = getattr(record, "data", None)
    return (
        {"task_id": data["id"], "task": data.get("name")} if isinstance(data, dict) and "id" in data else {}
    )
