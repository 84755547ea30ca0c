"""The second audit of a job, where its labels are to be certified: when all is answered, rows drawn from each label's
are asked of the reference.

It is the generation's last batch and waits for all others. Each label is tested once in the life of a job: while a
resume could still change what was answered, nothing is drawn.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import msgspec
import pyarrow as pa

from pipeline.audit.batch import AuditCaller, Climb, climb_all, rows_of, why_unfinished
from pipeline.audit.drawn import read_drawn
from pipeline.cascade.walk import missed_a_tier
from pipeline.certify.draw import Draw
from pipeline.certify.strata import Claim, Stratum, test_strata
from pipeline.ports.storage import Storage
from pipeline.rows import OffLedger, read_documents
from pipeline.storage.commits import read_commits
from pipeline.storage.final import fetch_parts, scratch
from pipeline.storage.merge import connect, view
from pipeline.storage.sql import named
from pipeline.task.labels import labels_in
from pipeline.work import Work
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import Generation, JobId, QueryId, TierName
from schemas.job import Task
from schemas.records import Assignment, Query, Result
from schemas.tables import TABLES

_TABLES = ("results", "decisions", "calls", "call_items")


class ByLabel(msgspec.Struct, frozen=True, kw_only=True):
    """Of one generation, created once: the first one stands."""

    target: float
    delta: float  # P(any claim is wrong) at most
    claims: Sequence[Claim] = ()
    reason: str = ""  # why nothing was tested, or not all could be asked

    @property
    def unfinished(self) -> bool:
        """Whether a resume asks on. The draw stays, and an answer can only add to what agrees: what is certified
        before is certified after, so that it is one test."""
        return bool(self.claims and self.reason)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a job that is answered, and what was drawn of each."""

    open: int  # rows that a resume would ask again: as long as there are any, nothing is drawn
    strata: Sequence[Stratum] = ()
    chosen: Mapping[str, Sequence[QueryId]] = {}  # by label
    documents: Sequence[Query] = ()  # of all chosen


async def read_labels(storage: Storage, job: JobId, generation: Generation) -> ByLabel | None:
    try:
        data = await storage.read(lake.by_label(job, generation))
    except NoSuchObject:
        return None
    return msgspec.json.decode(data, type=ByLabel)


async def write_labels(work: Work, generation: Generation, found: ByLabel) -> None:
    await work.services.storage.create(lake.by_label(work.job, generation), msgspec.json.encode(found))


def wanted_labels(work: Work) -> ByLabel:
    """What is to be claimed of each label."""
    use = work.spec.quality
    assert use is not None
    assert use.per_label is not None
    return ByLabel(target=use.label_target, delta=round(1 - use.confidence, 9))


async def draw_labels(work: Work, generation: Generation) -> Answered:
    """From what the generation's other batches committed and what stood before it; the same whenever asked."""
    storage = work.services.storage
    commits = await read_commits(storage, work.job, generation)
    drawn = await read_drawn(storage, work.job)
    async with scratch(storage) as folder:
        paths = {
            name: await fetch_parts(storage, [commit.files[name] for commit in commits], folder)
            for name in _TABLES
        }
        paths["earlier"] = []
        for name in _TABLES if generation > 1 else ():
            old = await fetch_parts(storage, [lake.final(name, work.job)], folder)
            paths["earlier" if name == "results" else name] += old
        paths["documents"] = await fetch_parts(
            storage, await storage.list(lake.batch_files(work.job)), folder
        )
        return await asyncio.to_thread(_draw, work, paths, [row.query_id for row in drawn], folder)


def _draw(work: Work, paths: Mapping[str, list[Path]], drawn: Sequence[QueryId], folder: Path) -> Answered:
    """Blocking."""
    use = work.spec.quality
    assert use is not None
    statements = named(files("pipeline.audit").joinpath("stratified.sql").read_text(encoding="utf-8"))
    with closing(connect(folder)) as connection:
        for name, found in paths.items():
            view(connection, name, found, TABLES["results" if name == "earlier" else name], folder)
        connection.register("drawn", _ids(drawn))
        connection.execute(statements["stands"])
        if still := connection.execute(statements["open"]).fetchall()[0][0]:
            return Answered(open=still)
        if use.reference == "gold":
            connection.execute(statements["known_of_gold"])
        else:
            connection.execute(statements["known_of_tier"], {"reference": use.reference})
        rows = connection.execute(statements["answered"])
        strata, chosen = _strata(work, iter(rows.fetchone, None))
        connection.register("chosen", _ids(sorted({query for each in chosen.values() for query in each})))
        table = connection.sql(statements["documents"]).to_arrow_table()
    return Answered(open=0, strata=strata, chosen=chosen, documents=read_documents(table))


def _strata(
    work: Work, rows: Iterable[tuple[str, str, bool, str | None]]
) -> tuple[list[Stratum], dict[str, list[QueryId]]]:
    """Each label's rows, counted and drawn; where no draw of this size could certify it, nothing is."""
    pinned, wanted = work.manifest.draw, wanted_labels(work)
    assert pinned is not None
    size = pinned.per_label or 0
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    draws: dict[str, Draw[QueryId]] = {}
    for query, answer, known, reference in rows:
        theirs = labels_in(work.spec.task, reference)
        for label in labels_in(work.spec.task, answer):
            counts[label].update(rows=1, known=known, sure=known and label in theirs)
            if not known:
                draw = draws.setdefault(label, Draw(bytes.fromhex(pinned.key), 0, size))
                draw.offer(QueryId(query), QueryId(query))
    strata, chosen = [], {}
    for label in sorted(counts):
        stratum = Stratum(label=label, **counts[label])
        least = stratum.fewest(wanted.target, wanted.delta)
        if least and least <= min(size, stratum.rest):
            chosen[label] = draws[label].audit
            stratum = msgspec.structs.replace(stratum, drawn=len(chosen[label]))
        strata.append(stratum)
    return strata, chosen


async def hold_labels(
    work: Work,
    generation: Generation,
    caller: AuditCaller,
    found: Answered,
    assigned: Sequence[Assignment],
    climb: Climb,
) -> tuple[list[Result], list[OffLedger]]:
    """Ask the reference, test, write. Returns what it said, and the calls that the ledger does not know. Raises as the
    calls do; what it has asked by then costs nothing the next time."""
    use, wanted, off_ledger = work.spec.quality, wanted_labels(work), list[OffLedger]()
    assert use is not None
    if found.open:
        reason = (
            f"{found.open:,} rows are deferred or cancelled: labels are tested once, after `tierwise resume`"
        )
        await write_labels(work, generation, msgspec.structs.replace(wanted, reason=reason))
        return [], []
    rows = rows_of(work, found.documents, assigned)
    asked = await climb_all(work, rows, (TierName(use.reference),), climb, off_ledger) if rows else []
    said = {
        row.query.query_id: row.said(step) for row, result in zip(rows, asked, strict=True)
        for step in result.steps if step.call_id is not None
    }  # fmt: skip
    strata = [
        _counted(work.spec.task, stratum, found.chosen.get(stratum.label, ()), said)
        for stratum in found.strata
    ]
    claims = test_strata(strata, wanted.target, wanted.delta)
    missed = sum(map(missed_a_tier, asked))
    reason = f"{use.reference} could not be asked about {missed:,} drawn rows" if missed else ""
    if caller.denied is not None:
        reason = why_unfinished(caller.denied)
    reason = reason and f"{reason}; they count as disagreeing until `tierwise resume` asks them"
    await write_labels(work, generation, msgspec.structs.replace(wanted, claims=claims, reason=reason))
    return asked, off_ledger


def _counted(
    task: Task, stratum: Stratum, chosen: Sequence[QueryId], said: Mapping[QueryId, str | None]
) -> Stratum:
    agreeing = sum(stratum.label in labels_in(task, said.get(query)) for query in chosen)
    unasked = sum(query not in said for query in chosen)
    return msgspec.structs.replace(stratum, agreeing=agreeing, unasked=unasked)


def _ids(queries: Sequence[QueryId]) -> pa.Table:
    return pa.table({"query_id": pa.array(queries, pa.string())})
