"""Options that several commands share, and the way a command opens and closes the services."""

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from pydantic import TypeAdapter, ValidationError

from jobs.complete import job_ids
from pipeline.settings import Settings, read_settings
from pipeline.storage import open_storage
from pipeline.which import find_job
from pipeline.wiring.services import close_services, open_services
from pipeline.work import Services
from schemas.ids import JobId
from schemas.job import Usd
from schemas.manifest import Manifest

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Lake = Annotated[str | None, typer.Option("--lake", help="Folder or s3:// URL of the lake.")]
Ledger = Annotated[str | None, typer.Option("--ledger", help="sqlite:///FILE or postgresql://… URL.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error; default: info.")]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="Its id, how it begins, or `latest`.", autocompletion=job_ids)
]


_USD: TypeAdapter[Decimal] = TypeAdapter(Usd)


def usd(text: str) -> Decimal:
    """An amount as `budget.usd` takes it, neither negative nor endless."""
    try:
        return _USD.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(f"{text!r}: {error.errors()[0]['msg']}") from None


Spec = Annotated[Path, typer.Argument(metavar="JOB.yaml")]
Budget = Annotated[Decimal | None, typer.Option(help="Overrides budget.usd.", parser=usd)]
Limit = Annotated[int | None, typer.Option(help="Only the first N rows.", min=1)]
NewJob = Annotated[str | None, typer.Option(help="The job's id; default: name and time.")]


def settings_of(lake: str | None, ledger: str | None = None, **more: str | None) -> Settings:
    return read_settings(lake=lake, ledger=ledger, **more)


@asynccontextmanager
async def services_of(settings: Settings) -> AsyncIterator[Services]:
    services = await open_services(settings)
    try:
        yield services
    finally:
        await close_services(services)


def job_of(settings: Settings, said: str) -> JobId:
    """The job that is meant by its id, by how that begins or by `latest`. Raises UnknownJob, AmbiguousJob."""

    async def find() -> JobId:
        storage = open_storage(settings.lake_uri())
        try:
            return await find_job(storage, said)
        finally:
            await storage.close()

    return run_async(find())


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def print_json(data: Any) -> None:
    sys.stdout.write(json_text(data) + "\n")


def json_text(data: Any) -> str:
    return json.dumps(_plain(data), default=str, ensure_ascii=False, allow_nan=False)


def _plain(data: Any) -> Any:
    """What JSON has no form for: money as digits, keys as text, and null for what is no number."""
    match data:
        case dict():
            return {key if isinstance(key, str) else str(key): _plain(value) for key, value in data.items()}
        case list() | tuple():
            return [_plain(each) for each in data]
        case msgspec.Struct():
            return _plain(msgspec.structs.asdict(data))
        case Decimal():
            return f"{data:f}"
        case float() if not math.isfinite(data):
            return None
        case _:
            return data


def say_aside(pinned: Manifest) -> None:
    """Which tiers of the spec are not asked, on standard error."""
    for tier, why in pinned.aside.items():
        typer.echo(f"Tier {tier} stands aside: {why}.", err=True)
