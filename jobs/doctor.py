"""`tierwise doctor`: probe what a job would need, and say the fix for what is missing."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from jobs.options import Json, Lake, Ledger, print_json, run_async, settings_of
from pipeline.ledger import open_ledger
from pipeline.monitoring.checkup import (
    check_clock,
    check_jobs,
    check_keys,
    check_lake,
    check_ledger,
    check_versions,
    checked,
)
from pipeline.settings import Settings
from pipeline.storage import open_storage
from pipeline.storage.versions import migrate as migrate_lake
from pipeline.storage.views import rebuild_views
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import now_ms
from schemas.errors import TierwiseError
from schemas.finding import Finding, failed

MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "red")}


def command(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[JOB.yaml]", help="A spec, to check it and its keys.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask each endpoint of the spec for its models, which is free.")
    ] = False,
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
    """Check for real what a job needs: versions, settings, keys, lake, ledger, broker, clock, workers. Every
    check runs, whatever the others find. Exit code 5: something is out of reach, 2: something is set wrongly."""
    if online and spec is None:
        raise typer.BadParameter("--online asks the endpoints of a spec: tierwise doctor JOB.yaml --online")
    found = _migrated(lake, ledger) if migrate else []
    found += run_async(_examine(spec, online, views or bool(found), lake, ledger))
    if as_json:
        print_json({"checks": [msgspec.structs.asdict(each) for each in found]})
    else:
        for each in found:
            mark, color = MARKS[each.state]
            typer.echo(f"{typer.style(f'{mark:<8}', fg=color)} {each.name}: {each.said}")
            if each.fix:
                typer.echo(f"{'':8}   Fix: {each.fix}")
    if code := max((each.exit_code for each in found), default=0):
        raise typer.Exit(code)


def _migrated(lake: str | None, ledger: str | None) -> list[Finding]:
    taken = run_async(migrate_lake(open_storage(settings_of(lake, ledger).lake_uri())))
    return [Finding(name="migrated", state="ok", said=", ".join(taken) or "nothing to do")]


async def _examine(
    spec: Path | None, online: bool, views: bool, lake: str | None, ledger: str | None
) -> list[Finding]:
    found = await checked("versions", check_versions)
    try:
        settings = settings_of(lake, ledger)
    except TierwiseError as error:
        return [*found, failed("settings", error), *await _spec(spec, online)]
    from_file = "tierwise.toml and the environment" if Path("tierwise.toml").exists() else "the environment"
    found.append(Finding(name="settings", state="ok", said=f"read from {from_file}"))
    found += await _spec(spec, online)
    return found + await _services(settings, views)


async def _spec(path: Path | None, online: bool) -> list[Finding]:
    """The spec as `run` would take it, but for its keys, which are told one by one."""
    if path is None:
        said = "none looked for; `tierwise doctor JOB.yaml` checks a spec and the keys that its tiers need"
        return [Finding(name="keys", state="ok", said=said)]
    try:
        prepared = await read_spec(path, for_calls=False)
    except TierwiseError as error:
        return [failed("spec", error)]
    found = [Finding(name="spec", state="ok", said=f"{path}: {len(prepared.spec.tiers)} tiers, no mistake")]
    keys = check_keys(prepared.spec, dict(os.environ))
    found += keys
    if all(each.state == "ok" for each in keys):

        async def usable() -> list[Finding]:
            await read_spec(path)
            return []

        refused = await checked("credentials", usable)
        found += refused
        if online and not refused:
            from pipeline.providers.listing import check_models

            found += await checked("online", lambda: check_models(prepared.spec))
    return found


async def _services(settings: Settings, views: bool) -> list[Finding]:
    """Lake, ledger, broker, then what only shows in all of them together."""
    found: list[Finding] = []
    ahead: dict[str, float] = {}
    consumers = 0

    async def lake() -> list[Finding]:
        storage = open_storage(settings.lake_uri())
        try:
            if views:
                await rebuild_views(storage)
            said = await check_lake(storage)
            server_ahead = getattr(storage, "ahead_ms", None)
            if server_ahead is not None:
                ahead["lake"] = await server_ahead()
        finally:
            await storage.close()
        return said

    async def ledger() -> list[Finding]:
        opened = open_ledger(settings.ledger_url(), clock=now_ms)
        try:
            said, health = await check_ledger(opened, settings.ledger_url())
        finally:
            await opened.close()
        if health.ahead_ms is not None:
            ahead["ledger"] = health.ahead_ms
        return said

    async def broker() -> list[Finding]:
        nonlocal consumers
        from workers.checkup import check_broker

        health = await asyncio.to_thread(check_broker, settings)
        consumers = health.consumers
        if health.ahead_ms is not None:
            ahead["broker"] = health.ahead_ms
        return health.findings

    async def jobs() -> list[Finding]:
        storage, opened = open_storage(settings.lake_uri()), open_ledger(settings.ledger_url(), clock=now_ms)
        try:
            return await check_jobs(opened, storage, now_ms(), consumers, bool(settings.broker))
        finally:
            await opened.close()
            await storage.close()

    for name, check in (("lake", lake), ("ledger", ledger), ("broker", broker)):
        found += await checked(name, check)
    found.append(check_clock(ahead, settings.lease_seconds * 1000))
    if not any(each.state == "failed" and each.name in ("lake", "ledger") for each in found):
        found += await checked("workers", jobs)
    return found
