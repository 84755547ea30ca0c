"""Options that several commands share, and the way a command opens and closes the services."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer

from pipeline.settings import Settings, read_settings
from pipeline.wiring import close_services, open_services
from pipeline.work import Services

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Lake = Annotated[str | None, typer.Option("--lake", help="Folder or s3:// URL of the lake.")]
Ledger = Annotated[str | None, typer.Option("--ledger", help="sqlite:///FILE or postgresql://… URL.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def settings_of(lake: str | None, ledger: str | None = None, **more: str | None) -> Settings:
    return read_settings(lake=lake, ledger=ledger, **more)


@asynccontextmanager
async def services_of(settings: Settings) -> AsyncIterator[Services]:
    services = await open_services(settings)
    try:
        yield services
    finally:
        await close_services(services)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, default=str, ensure_ascii=False) + "\n")
