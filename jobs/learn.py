"""`tierwise learn`: fit a policy to all rewards now, and promote it if it is not worse."""

import asyncio
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from jobs.complete import job_ids
from jobs.options import Json, Lake, Ledger, job_of, print_json, run_async, services_of, settings_of
from pipeline.learning.judging import Verdict
from pipeline.learning.learn import Learned, learn_from
from pipeline.learning.rewards import final_tables, reward_files
from pipeline.ports.storage import Storage
from pipeline.router.policies import SCORINGS
from pipeline.settings import Settings
from pipeline.wiring.work import open_learner
from schemas import lake as layout
from schemas import manifest
from schemas.errors import JobNotClosed, UnknownJob, UnknownPolicy
from schemas.ids import JobId


def command(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Its name, or with --job its kind.")],
    job: Annotated[
        str | None,
        typer.Option(
            help="A closed job to learn from, with all others of the same task.", autocompletion=job_ids
        ),
    ] = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Fit a version to every reward of its task, judge it beside the one that stands, and promote it if not worse."""
    settings = settings_of(lake, ledger)
    learned = run_async(_learn(settings, policy, job_of(settings, job) if job else None))
    if as_json:
        print_json(msgspec.to_builtins(learned))
    else:
        _print(learned)


async def _learn(settings: Settings, policy: str, job: JobId | None) -> Learned:
    kind = next((kind for kind in SCORINGS if policy == kind or policy.startswith(f"{kind}-")), None)
    if kind is None:
        raise UnknownPolicy(name=policy, why=f"those that learn begin with {', '.join(SCORINGS)}")
    async with services_of(settings) as services:
        job = job or await _latest(services.storage, policy, policy.removeprefix(kind).removeprefix("-"))
        row = await services.ledger.job(job)
        if row is None:
            raise UnknownJob(job=job)
        if row.state != "closed":
            raise JobNotClosed(job=job, state=row.state)
        learner = await open_learner(services, job, kind)
        if policy not in (kind, learner.policy):
            raise UnknownPolicy(name=policy, why=f"job {job} is of the task of {learner.policy}")
        learned = await learn_from(learner, final_tables(job), services.clock(), by_hand=True)
    if learned is None:
        raise UnknownPolicy(name=learner.policy, why=f"no answer of job {job} has a label")
    return learned


async def _latest(storage: Storage, policy: str, scope: str) -> JobId:
    """The job whose tiers the versions are judged over."""
    jobs = sorted({layout.rewarded_job(key) for key in await reward_files(storage, scope)}) if scope else []
    if not jobs:
        raise UnknownPolicy(name=policy, why="nothing was rewarded of it; name a closed job with --job")
    pinned = await asyncio.gather(*(storage.read(layout.manifest(job)) for job in jobs))
    return max(map(manifest.decode, pinned), key=lambda each: each.created_at).job


def _print(learned: Learned) -> None:
    console = Console(highlight=False, soft_wrap=True)
    sources = ", ".join(f"{count:,} {source}" for source, count in sorted(learned.sources.items()))
    made = "fitted" if learned.new else "fitted before"
    console.print(
        f"{learned.policy}@{learned.version}: {made} on {learned.rows:,} answers ({sources}) of {learned.jobs} jobs"
    )
    verdict = learned.verdict
    if verdict.how != "none":
        console.print(_judged(verdict))
        if verdict.brier is not None:
            _print_reliability(console, verdict)
    word = "promoted" if learned.promoted else "not promoted"
    console.print(f"{word}: {verdict.reason}")


def _judged(verdict: Verdict) -> str:
    how: dict[str, Any] = {
        "doubly robust": f"doubly robust, effective sample {verdict.effective:.0f}",
        "direct": f"{verdict.seen:.0%} of its calls as logged, the others as it expects",
    }
    return (
        f"judged on {verdict.queries:,} held-out queries ({how.get(verdict.how, verdict.how)}): accuracy "
        f"{verdict.accuracy:.3f}, before {verdict.accuracy_before:.3f} (difference at least {verdict.lower:+.3f}); "
        f"${verdict.usd * 1000:.4f} per 1,000 queries, before ${verdict.usd_before * 1000:.4f}"
    )


def _print_reliability(console: Console, verdict: Verdict) -> None:
    table = Table(
        "predicted", title=f"P(correct) of first tiers, Brier score {verdict.brier:.3f}", title_justify="left"
    )
    for name in ("right", "answers"):
        table.add_column(name, justify="right")
    for predicted, true, count in verdict.reliability:
        table.add_row(f"{predicted:.2f}", f"{true:.2f}", str(count))
    console.print(table)
