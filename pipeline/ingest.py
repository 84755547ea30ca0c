"""From a source to batches in the lake: streamed, cut by rows and by bytes; a bad row becomes a rejected query."""

import asyncio
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
import pyarrow.parquet as pq

from pipeline.answered import Answered
from pipeline.ports.storage import Storage
from pipeline.rows import documents_table
from pipeline.sources import UNREADABLE, Row, columns, find_files, read_rows
from schemas import lake
from schemas.errors import InputError, NothingNew
from schemas.ids import BatchIndex, Generation, JobId, QueryId
from schemas.job import Input
from schemas.manifest import Incremental
from schemas.records import Query


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    queries: int
    rejected: int
    bytes: int  # of the documents that are not rejected, UTF-8
    batches: int
    incremental: Incremental | None


async def check_input(source: Input, base: Path) -> list[Path]:
    """The files, once every one is known to have the columns the spec names. Raises InputError."""
    files = await find_files(source.paths(), base)
    wanted = [name for name in (source.id, source.text, source.gold, *source.where) if name]
    for path in files:
        known = columns(path, source.format)
        for name in wanted if known is not None else []:
            if name not in (known or []):
                raise InputError(
                    path=path, why=f"it has no column {name!r}", fix=f"Columns: {', '.join(known or [])}."
                )
    return files


async def ingest(
    storage: Storage,
    job: JobId,
    source: Input,
    files: list[Path],
    limit: int | None = None,
    gold: Callable[[str], str] = str,
    seen: Callable[[Query], None] = lambda query: None,
    answered: Answered | None = None,
) -> Ingested:
    """Write generation 1's batch files. Memory holds one batch at a time. `gold` gives the right answer the
    form that answers have; every row passes by `seen` on its way, rejected ones too. What is `answered` is left out;
    raises NothingNew where all of it is."""
    batches = rejected = size = total = 0
    cut = _batches(_queries(source, files, limit, gold, answered), source.batch.rows, source.batch.bytes)
    while queries := await asyncio.to_thread(next, cut, None):  # a worker's loop has other jobs to serve
        await write_batch(storage, job, Generation(1), BatchIndex(batches), queries)
        for query in queries:
            seen(query)
        batches += 1
        total += len(queries)
        rejected += sum(query.rejected is not None for query in queries)
        size += sum(len(query.text.encode()) for query in queries if query.rejected is None)
    counts = answered.counts if answered else None
    if not total and counts and counts.unchanged:
        raise NothingNew(why=counts)
    if not total:
        raise InputError(path=", ".join(source.paths()), why="it holds no rows")
    return Ingested(queries=total, rejected=rejected, bytes=size, batches=batches, incremental=counts)


async def write_audit_batch(storage: Storage, job: JobId, generation: Generation, batch: BatchIndex) -> None:
    """The last batch of a generation whose plan is still open. It has no documents of its own: the drawn rows stand in
    their own batches too, which pay only for what the audit did not ask."""
    await write_batch(storage, job, generation, batch, [])


async def write_batch(
    storage: Storage, job: JobId, generation: Generation, batch: BatchIndex, queries: list[Query]
) -> None:
    sink = io.BytesIO()
    pq.write_table(documents_table(job, generation, queries), sink, compression="zstd", compression_level=1)
    await storage.write(lake.batch_file(job, generation, batch), sink.getvalue())


def _batches(queries: Iterable[Query], rows: int, size: int) -> Iterator[list[Query]]:
    batch: list[Query] = []
    held = 0
    for query in queries:
        weight = len(query.text.encode("utf-8", "replace"))
        if batch and (len(batch) >= rows or held + weight > size):
            yield batch
            batch, held = [], 0
        batch.append(query)
        held += weight
    if batch:
        yield batch


def _queries(
    source: Input, files: list[Path], limit: int | None, gold: Callable[[str], str], answered: Answered | None
) -> Iterator[Query]:
    rows = (row for path in files for row in read_rows(path, source.format) if _wanted(row, source.where))
    with closing(_Seen()) as seen:
        for number, row in enumerate(islice(rows, limit), 1):
            query = seen.once(_query(row, source, number, gold), number)
            if answered is None or not answered.is_unchanged(query):
                yield query


def _wanted(row: Row, where: dict[str, str | list[str]]) -> bool:
    if UNREADABLE in row:
        return True
    for name, value in where.items():
        allowed = [value] if isinstance(value, str) else value
        if row.get(name) is None or _text(row[name]) not in allowed:
            return False
    return True


def _query(row: Row, source: Input, number: int, to_gold: Callable[[str], str] = str) -> Query:
    fallback = QueryId(f"row-{number}")
    if UNREADABLE in row:
        return Query(query_id=fallback, text="", rejected=row[UNREADABLE])
    text, problem = _document(row.get(source.text))
    query_id = fallback
    if source.id is not None:
        said = row.get(source.id)
        if said is None or said == "":
            problem = problem or f"no id in column {source.id!r}"
        else:
            query_id = QueryId(_clean(_text(said)))
    used = {source.id, source.text, source.gold}
    fields = {
        name: _clean(_text(value)) for name, value in row.items() if name not in used and value is not None
    }
    gold = row.get(source.gold) if source.gold else None
    return Query(
        query_id=query_id,
        text=text,
        fields=fields,
        gold=to_gold(_clean(_text(gold))) if gold is not None and gold != "" else None,
        rejected=problem,
    )


def _document(value: Any) -> tuple[str, str | None]:
    if value is None:
        return "", "empty text"
    text = _text(value)
    if not text.strip():
        return "", "empty text"
    if _clean(text) != text:
        return _clean(text), "not UTF-8"
    return text, None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _clean(text: str) -> str:
    """Lone surrogates (bytes that were not UTF-8) replaced, so that the row can be stored."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class _Seen:
    """Ids so far, on disk: a job's ids need not fit into memory."""

    def __init__(self) -> None:
        self._file = NamedTemporaryFile(prefix="tierwise-ids-")  # noqa: SIM115  # closed by close()
        self._db = sqlite3.connect(self._file.name, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -32000")  # kB: ids come in any order
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def close(self) -> None:
        self._db.close()
        self._file.close()

    def once(self, query: Query, number: int) -> Query:
        """The query, rejected under an id of its own when its id was there before."""
        if self._add(query.query_id, number):
            return query
        first = self._db.execute("SELECT row FROM ids WHERE id = ?", (query.query_id,)).fetchone()[0]
        unique = QueryId(f"{query.query_id}#row-{number}")
        while not self._add(unique, number):
            unique = QueryId(f"{unique}#row-{number}")
        reason = f"duplicate id {query.query_id!r}, first in row {first}"
        return msgspec.structs.replace(query, query_id=unique, rejected=query.rejected or reason)

    def _add(self, query_id: str, number: int) -> bool:
        added = self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (query_id, number))
        return added.rowcount == 1
