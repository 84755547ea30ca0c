"""The certificate whose reference is people: the answers that the drawn rows had anyway, against labels given later.

The plan was named before the job and the rows were drawn by chance, so the test of one plan on all of them holds. A
row that has no answer disagrees, and so does one without a label where people are not waited for: further labels can
only add to what agrees, so what is certified early is certified later.
"""

import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.certificate import (
    Run,
    accuracy_of,
    plan_of,
    read_run,
    statements_of,
    time_of,
    why_off_plan,
)
from pipeline.audit.drawn import read_drawn
from pipeline.certify.bounds import lower_bound, p_value
from pipeline.certify.certify import BOUND
from pipeline.ports.storage import Storage
from pipeline.storage.final import fetch_parts, scratch, write_final
from pipeline.storage.merge import connect, view
from pipeline.work import Work
from schemas import lake, manifest
from schemas.errors import JobNotClosed, NoSuchObject, TierwiseError, UnknownJob
from schemas.ids import Generation, JobId, QueryId
from schemas.job import Quality
from schemas.manifest import Manifest
from schemas.records import Query
from schemas.tables import CERTIFICATES, TABLES

Row = dict[str, Any]
ATTEMPTS = 3  # to leave what stands, where two reviewers end at once and the one who knew less wrote last


class NotByPeople(TierwiseError):
    """The certificate of {job} does not wait for people: its `quality.reference` is {reference}."""

    exit_code = 2
    fix = "`tierwise report {job}` prints what the job was certified to, if anything."


class _Said(msgspec.Struct, frozen=True):
    """What people said of a drawn row."""

    query_id: QueryId
    label: str | None  # None: withdrawn
    people: int  # whose labels stand
    alike: bool


async def open_certificate(work: Work, generation: Generation, now: int) -> None:
    """At close: pending, unless the drawn rows were labelled already, as after a resume. Idempotent."""
    ruling = await work.ruling(generation)
    assert ruling is not None  # frozen at submit
    row = await _row(work.services.storage, work.manifest, plan_of(work, ruling))
    await _write(work.services.storage, work.job, row | {"generation": generation}, now)


async def certify_by_people(
    storage: Storage, job: JobId, now: int, *, unlabelled_disagree: bool = False
) -> None:
    """The job's certificate by the labels there are now, written where it is news. Raises UnknownJob, NotByPeople,
    JobNotClosed."""
    try:
        pinned = manifest.decode(await storage.read(lake.manifest(job)))
    except NoSuchObject:
        raise UnknownJob(job=job) from None
    use = pinned.job_spec().quality
    if use is None or use.asks:
        raise NotByPeople(job=job, reference=use.reference if use else "not set")
    for _ in range(ATTEMPTS):
        stood = await _stood(storage, job)
        row = await _row(storage, pinned, stood["plan"], unlabelled_disagree=unlabelled_disagree)
        if all(stood[name] == value for name, value in row.items()):
            return
        await _write(storage, job, row | {"generation": stood["generation"]}, now)


async def _stood(storage: Storage, job: JobId) -> Row:
    try:
        data = await storage.read(lake.final("certificates", job))
    except NoSuchObject:
        raise JobNotClosed(job=job, state="not closed yet") from None
    row: Row = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()[0]
    return row


async def _write(storage: Storage, job: JobId, row: Row, now: int) -> None:
    stamped = row | {"job": job, "issued_at": time_of(now)}
    await write_final(storage, "certificates", job, pa.Table.from_pylist([stamped], schema=CERTIFICATES))


async def _row(storage: Storage, pinned: Manifest, plan: str, *, unlabelled_disagree: bool = False) -> Row:
    """All but who wrote it when."""
    drawn = await read_drawn(storage, pinned.job)
    version = json.loads(plan)["version"]
    async with scratch(storage) as folder:
        given = await fetch_parts(storage, await storage.list(lake.feedback(pinned.job)), folder)
        paths = {
            name: await fetch_parts(storage, [lake.final(name, pinned.job)], folder)
            for name in ("results", "calls")
        }
        said = await asyncio.to_thread(_labels, given, folder)
        labels = {
            query.query_id: said[query.query_id].label if query.query_id in said else None for query in drawn
        }
        run = await asyncio.to_thread(read_run, paths, labels, version, folder)
    return {
        **_tested(pinned, run, unlabelled_disagree=unlabelled_disagree),
        **_own_accuracy(drawn, said),
        "drawn": sorted(labels),
        "plan": plan,
    }


def _labels(paths: list[Path], folder: Path) -> dict[QueryId, _Said]:
    with closing(connect(folder)) as connection:
        view(connection, "feedback", paths, TABLES["feedback"], folder)
        rows = connection.execute(statements_of("labels")).fetchall()
    return {said.query_id: said for said in (_Said(*row) for row in rows)}


def _tested(pinned: Manifest, run: Run, *, unlabelled_disagree: bool) -> Row:
    spec, population, drawn = pinned.job_spec(), pinned.queries, len(run.audited)
    use = spec.quality
    assert use is not None
    assert use.target is not None  # checked at submit
    delta = round(1 - use.confidence, 9)
    readable = [row for row in run.audited if not row.rejected]
    missing = sum(row.reference is None for row in readable)
    agreeing = sum(row.agrees for row in run.audited)
    p, sure = (
        p_value(agreeing, drawn, population, use.target),
        lower_bound(agreeing, drawn, population, delta),
    )
    share = run.off_plan / population
    pending = missing > 0 and not unlabelled_disagree
    if pending:
        count = f"{len(readable) - missing:,} of {len(readable):,} drawn rows are labelled"
        reason = f"{count}: `tierwise review serve {pinned.job}`"
    elif reason := why_off_plan(use, run.off_plan, share):
        pass
    elif p > delta:
        reason = _why_low(use, agreeing, drawn, sure, missing)
    return {
        "certified": not reason,
        "pending": pending,
        "reason": reason,
        "target": use.target,
        "reference": use.reference,
        "confidence": use.confidence,
        "bound": BOUND,
        "population": population,
        "pilot": 0,
        "audited": drawn,
        "labelled": len(readable) - missing,
        "unavailable": 0,
        "agreeing": None if pending else agreeing,
        "p_value": None if pending else p,
        "sure": None if pending else sure,
        "chain": "[]",
        "off_plan": run.off_plan,
        "off_plan_share": share,
        "off_plan_allowed": use.off_plan,
        "audit_usd": run.audit_usd,
        **({} if missing else accuracy_of(spec.task, run)),
    }


def _why_low(use: Quality, agreeing: int, drawn: int, sure: float, missing: int) -> str:
    said = f"{agreeing:,} of {drawn:,} drawn rows agree, at confidence {use.confidence:.0%} {sure:.1%} of all"
    return f"{said}; {missing:,} without a label count as disagreeing" if missing else said


def _own_accuracy(drawn: Sequence[Query], said: Mapping[QueryId, _Said]) -> Row:
    """How often people say what gold says, and what other people say."""
    stands = {name: each.label for name, each in said.items() if each.label is not None}
    graded = [stands[row.query_id] == row.gold for row in drawn if row.gold and row.query_id in stands]
    twice = [
        said[row.query_id].alike for row in drawn if row.query_id in said and said[row.query_id].people > 1
    ]
    return {
        "graded": len(graded),
        "reference_accuracy": sum(graded) / len(graded) if graded else None,
        "repeated": len(twice),
        "self_agreement": sum(twice) / len(twice) if twice else None,
    }
