"""`tierwise policy`: what routing has learned, which version stands, and the way back."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.options import Json, Lake, print_json, run_async, settings_of
from pipeline.learning.drift import Drift, find_drift
from pipeline.learning.store import (
    UNLEARNED,
    Version,
    policies,
    read_promotions,
    read_version,
    read_versions,
    roll_back,
    standing,
)
from pipeline.ports.storage import Storage
from pipeline.router import snapshot
from pipeline.storage import open_storage
from pipeline.wiring.services import now_ms
from schemas.errors import UnknownPolicy

DRIFTED = 6

app = typer.Typer(
    no_args_is_help=True, help="What routing has learned: versions, promotions, rollback, drift."
)
Name = Annotated[str, typer.Argument(metavar="POLICY", help="As `policy show` lists it.")]


@app.command()
def show(
    policy: Annotated[str | None, typer.Argument(metavar="POLICY", help="Default: all.")] = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """The version that stands: what it was fitted on and what it knows of each tier."""
    storage = open_storage(settings_of(lake).lake_uri())
    if policy is None:
        rows = run_async(_show_all(storage))
        print_json(rows) if as_json else _print_rows(rows)
        return
    said = run_async(_show(storage, policy))
    print_json(said) if as_json else _print_rows(said["tiers"], said)


@app.command()
def history(policy: Name, lake: Lake = None, as_json: Json = False) -> None:
    """Every version ever fitted and every promotion, the oldest first."""
    storage = open_storage(settings_of(lake).lake_uri())
    said = run_async(_history(storage, policy))
    if as_json:
        print_json(said)
        return
    _print_rows(said["versions"])
    _print_rows(said["promotions"])


@app.command()
def rollback(
    policy: Name,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Default: what stood before; 0: as it began.")
    ] = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Let an earlier version stand, until `tierwise learn` promotes again. Batches that have begun are not changed."""
    storage = open_storage(settings_of(lake).lake_uri())
    made = run_async(roll_back(storage, policy, version, now_ms()))
    if as_json:
        print_json({"policy": policy, "version": made.version, "before": made.before, "number": made.number})
    else:
        typer.echo(f"{policy}: {made.version} stands, {made.before} does no more.")


@app.command()
def drift(policy: Name, lake: Lake = None, as_json: Json = False) -> None:
    """Compare the latest job with those before: rewards, categories, answers. Exit code 6 when they drifted."""
    storage = open_storage(settings_of(lake).lake_uri())
    found = run_async(find_drift(storage, policy.rpartition("-")[2]))
    if found.latest is None:
        raise UnknownPolicy(name=policy, why="nothing was rewarded of it")
    if as_json:
        print_json({"policy": policy, **_drift(found)})
    else:
        _print_rows(_drift(found)["tests"], {"latest job": found.latest, "drifted": found.found})
    if found.found:
        raise typer.Exit(DRIFTED)


async def _show_all(storage: Storage) -> list[dict[str, Any]]:
    names = await policies(storage)
    stand = [await standing(storage, name) for name in names]
    return [
        {
            "policy": name,
            "version": promotion.version if promotion else None,
            "promoted_at": _time(promotion.at) if promotion else None,
            "how": promotion.how if promotion else None,
            "versions": len(await read_versions(storage, name)),
        }
        for name, promotion in zip(names, stand, strict=True)
    ]


async def _show(storage: Storage, policy: str) -> dict[str, Any]:
    promotion = await standing(storage, policy)
    if promotion is None:
        raise UnknownPolicy(name=policy, why="no version of it was promoted")
    said: dict[str, Any] = {
        "policy": policy,
        "version": promotion.version,
        "reason": promotion.reason,
        "tiers": [],
    }
    if promotion.version == UNLEARNED:
        return said
    made = await read_version(storage, policy, promotion.version)
    stats = snapshot.decode(made.snapshot).statistics
    said["tiers"] = [
        {"tier": tier, "weight": round(weight, 1), "right": round(right / weight, 4) if weight else None}
        for tier, weight, right in zip(
            stats.tiers, stats.weight.tolist(), stats.moment[:, 0].tolist(), strict=True
        )
    ]
    return {**said, **_version(made)}


async def _history(storage: Storage, policy: str) -> dict[str, Any]:
    versions, promotions = await read_versions(storage, policy), await read_promotions(storage, policy)
    if not versions:
        raise UnknownPolicy(name=policy, why="no version of it was fitted")
    return {
        "policy": policy,
        "versions": [_version(each) for each in versions],
        "promotions": [
            {
                "number": each.number,
                "version": each.version,
                "how": each.how,
                "at": _time(each.at),
                "reason": each.reason,
            }
            for each in promotions
        ],
    }


def _version(made: Version) -> dict[str, Any]:
    return {
        "version": made.version, "parents": list(made.parents), "rewards": len(made.rewards), "answers": made.rows,
        "fitted_at": _time(made.created_at),
    }  # fmt: skip


def _drift(found: Drift) -> dict[str, Any]:
    tests = [{name: getattr(test, name) for name in test.__struct_fields__} for test in found.tests]
    return {"latest": found.latest, "drifted": found.found, "tests": tests}


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="seconds")


def _print_rows(rows: list[dict[str, Any]], facts: dict[str, Any] | None = None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name, fact in (facts or {}).items():
        if not isinstance(fact, list):
            console.print(f"{name}: {fact}")
    if rows:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*("" if cell is None else _cell(cell) for cell in row.values()))
        console.print(table)


def _cell(cell: Any) -> str:
    return (
        f"{cell:.4f}" if isinstance(cell, float) else ", ".join(cell) if isinstance(cell, list) else str(cell)
    )
