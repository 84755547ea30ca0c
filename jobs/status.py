"""`tierwise status`: where a job stands: queries, dollars, answers per tier, time to finish."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from jobs.options import Json, Lake, Ledger, print_json, run_async, services_of, settings_of
from jobs.progress import board
from pipeline.ledger.pacing import rate_of
from pipeline.ports.ledger import JobRow
from pipeline.ruling import read_ruling
from pipeline.settings import Settings
from pipeline.storage.commits import read_each
from pipeline.wiring.tiers import allowed_of
from pipeline.work import Services
from schemas import lake as layout
from schemas import manifest
from schemas.errors import UnknownJob
from schemas.ids import JobId
from schemas.job import Tier
from schemas.money import format_usd, nano_to_usd
from schemas.records import Commit


def command(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Default: all jobs, a line each.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw until the job is closed.")] = False,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show a job's progress and money, or list the jobs."""
    settings = settings_of(lake, ledger)
    if job is None:
        run_async(_list(settings, as_json))
    elif watch and not as_json:
        run_async(_watch(settings, JobId(job)))
    else:
        run_async(_show(settings, JobId(job), as_json))


async def _list(settings: Settings, as_json: bool) -> None:
    async with services_of(settings) as services:
        found = await services.ledger.jobs()
    if as_json:
        print_json([msgspec.structs.asdict(row) for row in found])
        return
    for row in found:
        stop = f" ({row.stop})" if row.stop else ""
        typer.echo(
            f"{row.job}  {row.state}{stop}  generation {row.generation}  batches {row.committed}/{row.batches}"
        )


async def _show(settings: Settings, job: JobId, as_json: bool) -> None:
    async with services_of(settings) as services:
        said = await _state(services, job, _Commits(services, job))
    if as_json:
        print_json(said)
        return
    stop = f" ({said['stop']})" if said["stop"] else ""
    typer.echo(f"{job}: {said['state']}{stop}, generation {said['generation']}")
    typer.echo(
        f"queries {said['done']:,} of {said['queries']:,}; batches {said['committed']} of {said['batches']}"
    )
    money = [
        f"{name} {format_usd(said[f'{name}_nano'])}" for name in ("spent", "presumed", "held", "left", "cap")
    ]
    typer.echo(" · ".join(money))
    typer.echo(
        " · ".join(f"{name} {count:,}" for name, count in {**said["tiers"], **said["statuses"]}.items())
    )
    if said["audit"]:
        typer.echo(f"audit: {said['audit']['said']}")
    if said["webhook"]:
        why = f": {said['webhook']['note']}" if said["webhook"]["note"] else ""
        typer.echo(f"webhook: {said['webhook']['state'].replace('_', ' ')}{why}")
    for tier, trouble in said["trouble"].items():
        typer.echo(f"tier {tier}: {_words(trouble)}")


def _words(trouble: dict[str, Any]) -> str:
    down = trouble["down_since_ms"]
    since = (
        f"down since {datetime.fromtimestamp(down / 1000):%H:%M:%S} ({trouble['problem']})" if down else ""
    )
    limited = f"{trouble['limited']:,} × 429" if trouble["limited"] else ""
    rate = (
        f"at most {trouble['calls_a_minute']:,} calls a minute for now" if trouble["calls_a_minute"] else ""
    )
    return ", ".join(filter(None, (since, limited, rate)))


async def _watch(settings: Settings, job: JobId) -> None:
    async with services_of(settings) as services:
        commits = _Commits(services, job)
        said = await _state(services, job, commits)
        async with board(services, said["account"], job, said["queries"], quiet=False) as shown:
            while True:
                said = await _state(services, job, commits)
                shown.at(said["done"], Counter(said["tiers"]), Counter(said["statuses"]))
                if said["state"] == "closed":
                    break
                await asyncio.sleep(0.5)
    typer.echo(f"{job} is closed. Next: tierwise report {job}")


class _Commits:
    """Commits are immutable: each is read once."""

    def __init__(self, services: Services, job: JobId) -> None:
        self._storage, self._job = services.storage, job
        self._read: dict[str, Commit] = {}

    async def of(self, row: JobRow) -> list[Commit]:
        keys = await self._storage.list(layout.commits(self._job, row.generation))
        fresh = [key for key in keys if key not in self._read]
        self._read.update(zip(fresh, await read_each(self._storage, fresh), strict=True))
        return [self._read[key] for key in keys]


async def _trouble(services: Services, tiers: Sequence[Tier]) -> dict[str, dict[str, Any]]:
    """Tiers that are down, or were asked more often than they take."""
    found = {}
    for tier in tiers:
        row = await services.ledger.pacing(allowed_of(tier).upstream)
        if row is not None and (row.parked_at or row.limited):
            found[tier.name] = {
                "down_since_ms": row.parked_at, "problem": row.problem if row.parked_at else "",
                "limited": row.limited, "calls_a_minute": rate_of(row),
            }  # fmt: skip
    return found


async def _audit(services: Services, pinned: manifest.Manifest, row: JobRow) -> dict[str, Any] | None:
    """Where the certificate of a job stands; None: none was asked for."""
    if pinned.draw is None:
        return None
    ruling = await read_ruling(services.storage, pinned.job, row.generation)
    if ruling is None:
        rows = pinned.draw.pilot + pinned.draw.audit
        return {"kind": "open", "said": f"{rows:,} rows are being asked of every tier", "plan": None}
    plan = ruling.plan
    said = f"the job runs under {' > '.join(plan.tiers)}" if plan else ruling.reason or "done"
    return {"kind": ruling.kind, "said": said, "plan": plan and ruling.version}


async def webhook_of(services: Services, job: JobId) -> dict[str, Any] | None:
    """What became of telling that the job has closed, the last time it did; None: there is nobody to tell."""
    told = await services.ledger.deliveries.of(job)
    if not told:
        return None
    return {name: getattr(told[-1], name) for name in ("generation", "state", "attempts", "note", "message")}


async def _state(services: Services, job: JobId, commits: _Commits) -> dict[str, Any]:
    row = await services.ledger.job(job)
    if row is None:
        raise UnknownJob(job=job)
    account = await services.ledger.account(row.account)
    assert account is not None  # a job is entered after its account
    tiers: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for commit in await commits.of(row):
        tiers.update(commit.tiers)
        statuses.update(commit.statuses)
    pinned = manifest.decode(await services.storage.read(layout.manifest(job)))
    left = account.cap - account.spent - account.held
    return {
        "job": job,
        "state": row.state,
        "stop": row.stop,
        "generation": row.generation,
        "account": row.account,
        "queries": pinned.queries if row.generation == 1 else sum(statuses.values()),
        "done": sum(statuses.values()),
        "batches": row.batches,
        "committed": row.committed,
        "statuses": dict(statuses),
        "tiers": dict(tiers),
        "audit": await _audit(services, pinned, row),
        "trouble": await _trouble(services, pinned.job_spec().tiers),
        "webhook": await webhook_of(services, job),
        "cap_usd": nano_to_usd(account.cap),
        "spent_usd": nano_to_usd(account.spent),
        "held_usd": nano_to_usd(account.held),
        "presumed_usd": nano_to_usd(account.presumed),
        "cap_nano": account.cap,
        "spent_nano": account.spent,
        "held_nano": account.held,
        "presumed_nano": account.presumed,
        "left_nano": left,
    }
