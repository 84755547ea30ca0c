"""One form for all lines: what they concern, no secrets, and trouble of a batch said once."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.monitoring.logs import ONCE, QUERY, Form, about, set_up
from schemas.ids import QueryId


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was logged so far; logging is put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = ("sys.excepthook", "threading.excepthook")
    for hook in hooks:
        monkeypatch.setattr(hook, None)
    yield lambda: capsys.readouterr().err
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_tells_what_it_concerns_in_threads_and_tasks_too(said: Callable[[], str]) -> None:
    set_up("json", "info")
    log = logging.getLogger("tierwise.test")

    async def answer(query: str) -> None:
        QUERY.set(QueryId(query))
        await asyncio.sleep(0)
        await asyncio.to_thread(log.warning, "slow %s", 'say "hi"\n')

    async def batch() -> None:
        with about(job="j", generation=1), about(batch=7):
            await asyncio.gather(answer("a"), answer("b"))
        log.info("after", extra={"fields": {"calls": 3}})

    asyncio.run(batch())
    first, second, after = lines(said())
    assert {first["query_id"], second["query_id"]} == {"a", "b"}
    assert (first["job"], first["generation"], first["batch"], first["level"]) == ("j", 1, 7, "warning")
    assert first["message"] == 'slow say "hi"\n'
    assert "job" not in after
    assert after["calls"] == 3


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_told(said: Callable[[], str], monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    monkeypatch.setenv("OUR_API_KEY", "not-in-any-known-form")
    set_up(form, "info")
    log = logging.getLogger("tierwise.test")
    try:
        raise ValueError("amqp://user:hush@host said not-in-any-known-form")
    except ValueError:
        log.exception("refused: %s", "sk-abcdefghijklmnopqrstuvwx")
    told = said()
    assert "ValueError" in told
    assert not [secret for secret in ("hush", "not-in-any", "sk-abc") if secret in told]


def test_what_is_marked_once_is_said_once_a_batch(said: Callable[[], str]) -> None:
    set_up("json", "info")
    log = logging.getLogger("tierwise.test")
    for batch in (0, 1):
        with about(batch=batch):
            for query in range(100):
                log.warning("the judge failed: %s", query, extra=ONCE)
    log.info("two")
    log.info("two")
    assert [(line.get("batch"), line["message"]) for line in lines(said())] == [
        (0, "the judge failed: 0"), (1, "the judge failed: 0"), (None, "two"), (None, "two"),
    ]  # fmt: skip


def test_what_watches_is_imported_by_those_who_ask_for_it() -> None:
    code = (
        "import sys, jobs.cli, workers.tasks, pipeline.wiring.services; "
        "print([name for name in ('opentelemetry', 'prometheus_client', 'flower') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
