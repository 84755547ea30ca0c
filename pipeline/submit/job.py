"""From a spec that was read to a job that is ready to run."""

import asyncio
import hashlib
import io
import json
import secrets
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pyarrow.parquet as pq

from pipeline.accepted import read_accepted
from pipeline.answered import Answered
from pipeline.audit.drawn import write_drawn
from pipeline.audit.ruling import write_stated_ruling
from pipeline.certify.draw import Draw
from pipeline.combiner import pick_combiner
from pipeline.forecast import Documents, forecast
from pipeline.ingest import Ingested, ingest, write_audit_batch
from pipeline.learning.learner import policy_name, scope_of
from pipeline.learning.store import read_versions
from pipeline.periods import group_of, periods_at
from pipeline.ports.storage import Storage
from pipeline.router.policies import SCORINGS
from pipeline.student import pick_judge, pick_students
from pipeline.submit.checks import above_reference
from pipeline.submit.spec import Prepared
from pipeline.task.gold import gold_of
from pipeline.task.prompt import build_prompt
from pipeline.wiring.policies import (
    build_features,
    build_policy,
    build_taxonomy,
)
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import JobExists, Problem, SpecError
from schemas.ids import AccountId, BatchIndex, Generation, JobId, Nano, TierName
from schemas.job import (
    JobSpec,
)
from schemas.manifest import Manifest
from schemas.money import Price, usd_to_nano
from schemas.records import Query

MOST_PAST = 10_000  # answers that a job looks back at: compared with each of its documents
DAY_MS = 86_400_000


async def create_job(
    services: Services,
    prepared: Prepared,
    job: JobId | None = None,
    limit: int | None = None,
    *,
    quoted: bool = False,
    scheduled: manifest.Scheduled | None = None,
) -> Manifest:
    """Ingest, pin the manifest, open the accounts, enter the job. A crash before the last step leaves no job.
    `quoted`: its pilot alone is asked, for the price of the rest."""
    spec, ledger, storage = prepared.spec, services.ledger, services.storage
    job = job or new_job_id(spec.name)
    if not lake.JOB_ID.fullmatch(job):
        raise SpecError(
            "--job", [Problem("job", f"{job!r} is no job id", f"It must match {lake.JOB_ID.pattern}.")]
        )
    if await ledger.job(job) is not None:
        raise JobExists(job=job)
    await _check_account(services, spec)
    key, use = new_draw_key(), spec.quality
    drawn = (use.fitted, 0 if quoted else use.audit) if use else (0, 0)
    draw = Draw[Query](key, *drawn)
    prompt_hash = build_prompt(spec.task).hash
    async with _answered(storage, spec, scheduled, prompt_hash) as answered:
        done = await ingest(
            storage,
            job,
            spec.input,
            prepared.inputs,
            limit,
            gold_of(spec.task),
            lambda query: draw.offer(query.query_id, query),
            answered,
        )
    batches = done.batches
    if use is not None:
        _check_gold(spec, draw)
        await write_drawn(storage, job, draw)
    if use is not None and use.asks:
        for _ in range(1 if use.per_label is None or quoted else 2):
            await write_audit_batch(storage, job, Generation(1), BatchIndex(batches))
            batches += 1
    files, aside = await pick_students(storage, spec, prompt_hash)
    for tier, path in prepared.training.items():
        files[tier] = f"_jobs/{job}/files/{tier}{''.join(path.suffixes[-2:])}"
        await storage.write(files[tier], path.read_bytes())
    written = spec.model_dump(mode="json", by_alias=True)
    policy_version = await _policy_version(storage, spec.without(aside), prepared.prices, prompt_hash)
    pinned = Manifest(
        job=job,
        spec=written,
        spec_hash=hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16],
        prompt_hash=prompt_hash,
        policy_version=policy_version,
        prices=prepared.prices,
        files=files,
        aside=aside | above_reference(spec),
        draw=_drawn(spec, aside, key, draw, quoted) if use else None,
        student=await pick_judge(storage, spec, prompt_hash),
        combiner=await pick_combiner(storage, spec, prompt_hash),
        reuse_since=await _reuse_since(services, spec),
        past=await _pin_past(storage, job, spec, prompt_hash),
        forecast=await _forecast(storage, prepared, prompt_hash, job, done),
        scheduled=scheduled,
        incremental=done.incremental,
        account=AccountId(f"job/{job}"),
        created_at=services.clock(),
        queries=done.queries,
        rejected=done.rejected,
        batches=batches,
    )
    await storage.write(lake.manifest(job), manifest.encode(pinned))
    if use is not None and not use.asks:
        await write_stated_ruling(storage, pinned)
    await _open_accounts(services, pinned, spec)
    if not await ledger.create_job(
        job, name=spec.name, account=pinned.account, batches=batches, now=services.clock()
    ):
        raise JobExists(job=job)
    return pinned


@asynccontextmanager
async def _answered(
    storage: Storage, spec: JobSpec, scheduled: manifest.Scheduled | None, prompt_hash: str
) -> AsyncIterator[Answered | None]:
    """What earlier jobs of the schedule have answered, where that is to be left out."""
    if scheduled is None or spec.schedule is None or not spec.schedule.incremental:
        yield None
        return
    answered = await asyncio.to_thread(Answered, storage, scheduled.schedule, prompt_hash)
    try:
        yield answered
    finally:
        answered.close()


async def _reuse_since(services: Services, spec: JobSpec) -> int | None:
    """None where nothing can be found: looking would cost each call its share. And with a certificate, which is
    about what the plan's tiers answer, not about what another job was once answered."""
    use = spec.history
    if use.reuse == "none" or spec.promise is not None or not await services.ledger.jobs():
        return None
    return 0 if use.max_age_days is None else services.clock() - int(use.max_age_days * DAY_MS)


async def _forecast(
    storage: Storage, prepared: Prepared, prompt_hash: str, job: JobId, done: Ingested
) -> tuple[Nano, Nano] | None:
    """Of the bill; said here, so that the report can say whether it held."""
    first = await storage.read(lake.batch_file(job, Generation(1), BatchIndex(0)))
    sample = pq.read_table(io.BytesIO(first), columns=["text"])["text"].to_pylist()
    documents = Documents(count=done.queries - done.rejected, bytes=done.bytes, sample=sample)
    said = await asyncio.to_thread(forecast, storage, prepared.spec, prepared.prices, prompt_hash, documents)
    return None if said is None else (said.low, said.high)


async def _pin_past(storage: Storage, job: JobId, spec: JobSpec, prompt_hash: str) -> str | None:
    """What this job looks back at, the same for whoever works on it and however often."""
    if not spec.history.looks_back:
        return None
    rows = await asyncio.to_thread(read_accepted, storage, prompt_hash, MOST_PAST)
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    await storage.write(lake.past(job), sink.getvalue())
    return lake.past(job)


async def _policy_version(
    storage: Storage, spec: JobSpec, prices: Mapping[TierName, Price], prompt_hash: str
) -> str:
    """The version itself where the spec names one or the policy learns nothing, else the policy's name: each batch
    is routed by the version that stands when it begins."""
    taxonomy = build_taxonomy(spec)
    if spec.policy.kind not in SCORINGS:
        return build_policy(spec, taxonomy, prices).version
    name = policy_name(spec.policy.kind, scope_of(prompt_hash, build_features(taxonomy, spec.policy.encoder)))
    if spec.policy.version is None:
        return name
    known = [each.version for each in await read_versions(storage, name)]
    if spec.policy.version not in known:
        fix = f"Write one of {', '.join(known)}, or {spec.policy.kind} alone." if known else "Leave it out."
        problem = Problem("policy", f"{name} has no version {spec.policy.version!r}", fix)
        raise SpecError(spec.name, [problem])
    return f"{name}@{spec.policy.version}"


def new_draw_key() -> bytes:
    """Who knew it before could write rows that are drawn, or are not."""
    return secrets.token_bytes(16)


def new_job_id(name: str) -> JobId:
    return JobId(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")


async def _check_account(services: Services, spec: JobSpec) -> None:
    shared = spec.budget.account
    if shared is None or spec.budget.account_usd is not None or spec.budget.per is not None:
        return
    if await services.ledger.account(AccountId(shared)) is None:
        problem = Problem("budget.account", f"account {shared!r} is new", "Give its cap: `account_usd: …`.")
        raise SpecError(spec.name, [problem])


async def _open_accounts(services: Services, pinned: Manifest, spec: JobSpec) -> None:
    """An account keeps its cap and its parents: what an interrupted submit of this job id left must be the same."""
    ledger, cap = services.ledger, usd_to_nano(spec.budget.usd)
    parents = await _open_parents(services, pinned.scheduled, spec)
    await ledger.open_account(pinned.account, cap, *parents)
    opened = await ledger.account(pinned.account)
    if opened is None or (opened.cap, opened.parents) != (cap, parents):
        why = f"{pinned.job!r} was begun before with another budget or shared account"
        raise SpecError("--job", [Problem("job", why, "Give another --job.")])


async def _open_parents(
    services: Services, scheduled: manifest.Scheduled | None, spec: JobSpec
) -> tuple[AccountId, ...]:
    """An occurrence that is submitted again counts to the periods it counted to before."""
    ledger, budget = services.ledger, spec.budget
    at = scheduled.seen_at if scheduled else services.clock()
    group = group_of(spec, scheduled.schedule if scheduled else None)
    if budget.per is not None:
        periods = periods_at(spec, group, at)
        for each in periods:
            await ledger.open_period(each.account, each.cap, each.carry)
        return tuple(each.account for each in periods)
    if budget.account is None:
        return ()
    if budget.account_usd is not None:
        await ledger.open_account(AccountId(budget.account), usd_to_nano(budget.account_usd))
    return (AccountId(budget.account),)


def _check_gold(spec: JobSpec, draw: Draw[Query]) -> None:
    """Raises SpecError where gold is the reference and drawn rows have none."""
    drawn = [query for query in [*draw.pilot, *draw.audit] if query.rejected is None]
    without = sum(query.gold is None for query in drawn)
    if spec.quality is not None and spec.quality.reference == "gold" and without:
        why = f"{without} of the {len(drawn)} rows drawn have no gold"
        fix = "Label every row, or take a tier as reference."
        raise SpecError(spec.name, [Problem("quality.reference", why, fix)])


def _drawn(
    spec: JobSpec, aside: Container[str], key: bytes, draw: Draw[Query], quoted: bool
) -> manifest.Draw:
    """Where the reference stands above one tier, thresholds are nested and need no pilot: its rows are audited too."""
    pilot, audit = len(draw.pilot), len(draw.audit)
    asked = [tier.name for tier in spec.without(aside).without(above_reference(spec)).tiers]
    if audit and spec.promise is not None and len(asked) <= 2 and asked[-1] == spec.promise.reference:
        pilot, audit = 0, pilot + audit
    use, per_label = spec.quality, None
    if use is not None and use.per_label is not None and not quoted:
        per_label = 0 if use.reference == "gold" else use.per_label.audit  # gold is there or nobody knows it
    return manifest.Draw(key=key.hex(), pilot=pilot, audit=audit, per_label=per_label)
