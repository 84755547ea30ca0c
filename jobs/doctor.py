"""`tierwise doctor`: probe what a job would need, and say the fix for what is missing."""

from typing import Annotated

import typer

from jobs.options import Json, Lake, Ledger, print_json, run_async, services_of, settings_of
from pipeline.settings import Settings
from pipeline.storage import open_storage
from pipeline.storage.versions import migrate as migrate_lake
from pipeline.storage.views import rebuild_views
from schemas.errors import TierwiseError


def command(
    views: Annotated[
        bool, typer.Option("--views", help="Rewrite tierwise.duckdb, after the lake was moved.")
    ] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring a lake of an older version up; with no worker running.")
    ] = False,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Check lake, ledger and broker for real: a durable write, a conditional create, a connection."""
    settings = settings_of(lake, ledger)
    taken = run_async(migrate_lake(open_storage(settings.lake_uri()))) if migrate else []
    if views or taken:
        run_async(rebuild_views(open_storage(settings.lake_uri())))
    checks = {"migrated": ", ".join(taken) or "nothing to do"} if migrate else {}
    checks |= {"lake and ledger": _try_services(settings), "broker": _try_broker(settings)}
    if as_json:
        print_json(checks)
    else:
        for name, said in checks.items():
            typer.echo(f"{name}: {said}")
    if any(said.startswith("FAILED") for said in checks.values()):
        raise typer.Exit(5)


def _try_services(settings: Settings) -> str:
    async def probe() -> None:
        async with services_of(settings):
            pass

    try:
        run_async(probe())
    except TierwiseError as error:
        return f"FAILED: {error}"
    return "ok"


def _try_broker(settings: Settings) -> str:
    if not settings.broker:
        return "none configured; `tierwise run` needs none"
    from workers.app import make_app, probe_broker

    try:
        probe_broker(make_app(settings), settings.broker)
    except TierwiseError as error:
        return f"FAILED: {error}"
    return "ok"
