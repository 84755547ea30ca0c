"""Labels given after the fact: checked whole, then kept."""

import asyncio
from collections.abc import Iterable

import pyarrow.parquet as pq

from pipeline.labels import Label, Labels, label_of
from pipeline.ports.storage import Storage
from pipeline.sources import UNREADABLE, Row
from pipeline.storage.final import fetch_parts, scratch
from pipeline.task.parse import Parser, parser_of
from schemas import lake
from schemas.errors import FeedbackError
from schemas.ids import JobId
from schemas.job import Task

SOURCES = ("human", "gold")
SHOWN = 10  # mistakes a message lists


async def give_feedback(
    storage: Storage, job: JobId, task: Task, rows: Iterable[Row], now: int
) -> list[Label]:
    """Keep the labels that are news, and return them. Raises FeedbackError with every mistake; then none is kept."""
    given = await asyncio.to_thread(_read, job, rows, parser_of(task), await _queries(storage, job))
    return await Labels(storage, job).keep(given, now)


def _read(job: JobId, rows: Iterable[Row], parse: Parser, queries: set[str]) -> list[Label]:
    given: dict[str, Label] = {}
    problems: list[str] = []
    count = 0
    for count, row in enumerate(rows, 1):
        problem = row.get(UNREADABLE) or _problem(row, parse, queries)
        if problem:
            problems.append(f"row {count}: {problem}")
            continue
        label = _label(row, parse)
        if given.setdefault(label.query_id, label) != label:
            problems.append(f"row {count}: {label.query_id!r} was given another label above")
    if not count:
        raise FeedbackError(job=job, why="there are none")
    if problems:
        listed = problems[:SHOWN] + [f"… and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN)
        listing = "".join(f"\n  {each}" for each in listed)
        raise FeedbackError(job=job, why=f"{len(problems)} of {count} rows are wrong.{listing}")
    return list(given.values())


def _problem(row: Row, parse: Parser, queries: set[str]) -> str:
    if missing := [name for name in ("query_id", "label") if row.get(name) in (None, "")]:
        return f"no {' and no '.join(missing)}; its columns: {', '.join(map(str, row))}"
    if str(row["query_id"]) not in queries:
        return f"the job has no query {str(row['query_id'])!r}"
    if (row.get("source") or SOURCES[0]) not in SOURCES:
        return f"source {row['source']!r} is none of {', '.join(SOURCES)}"
    label, problem = label_of(parse, row["label"])
    return "" if label is not None else f"the label is {problem}"


def _label(row: Row, parse: Parser) -> Label:
    label, _ = label_of(parse, row["label"])  # checked before
    return Label(str(row["query_id"]), label, row.get("source") or SOURCES[0])


async def _queries(storage: Storage, job: JobId) -> set[str]:
    """Every query the job was submitted with, closed or not."""
    async with scratch(storage) as folder:
        paths = await fetch_parts(storage, await storage.list(lake.batch_files(job)), folder)
        tables = [pq.read_table(path, columns=["query_id"]) for path in paths]
    return {name for table in tables for name in table["query_id"].to_pylist()}
