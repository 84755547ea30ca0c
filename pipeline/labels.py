"""The labels given for a job after the fact: one object of the lake each time some were. No row is ever changed."""

import asyncio
import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.storage import Storage
from pipeline.rows import answer_text
from pipeline.task.parse import Parser
from schemas import lake
from schemas.errors import NoSuchObject
from schemas.ids import JobId
from schemas.records import Completion
from schemas.tables import FEEDBACK, TIME

MOST_OWN = 64  # objects of one process, before they become one: many small ones are slow to read
AUDIT = "audit"  # chose rows for a certificate, by chance alone
_AT_ONCE = 32  # objects read at a time


class Label(msgspec.Struct, frozen=True):
    """What someone says the right answer of a query is."""

    query_id: str
    label: str | None  # as answers stand in tables; None: what was said before is withdrawn
    label_source: str
    reviewer: str | None = None
    selected_by: str | None = None  # what chose this row to be labelled; None: nobody knows
    score: float | None = None  # P(correct) of the answer that stood when it was chosen
    reason: str | None = None  # why it was chosen


class Labels:
    """Of one job, as far as this process has read them; `latest` holds what stands, withdrawals too, and `audited`
    what stands of the labels that were given for a certificate."""

    def __init__(self, storage: Storage, job: JobId) -> None:
        self._storage, self._job = storage, job
        self._keys: set[str] = set()
        self._own: dict[str, pa.Table] = {}  # key -> what this process wrote
        self._given_at: dict[str, int] = {}  # query -> Unix ms
        self._audited_at: dict[str, int] = {}
        self.latest: dict[str, Label] = {}
        self.audited: dict[str, Label] = {}

    def standing(self, query_id: str, *, drawn: bool) -> Label | None:
        """A row that was drawn for a certificate has only the labels given for it."""
        return (self.audited if drawn else self.latest).get(query_id)

    async def refresh(self) -> None:
        """Read what others have given since."""
        while news := sorted(set(await self._storage.list(lake.feedback(self._job))) - self._keys):
            for start in range(0, len(news), _AT_ONCE):
                keys = news[start : start + _AT_ONCE]
                found = await asyncio.gather(*map(self._storage.read, keys), return_exceptions=True)
                for key, data in zip(keys, found, strict=True):
                    if isinstance(data, NoSuchObject):  # folded meanwhile: its rows are in another one
                        continue
                    if isinstance(data, BaseException):
                        raise data
                    self._add(pq.read_table(io.BytesIO(data)))
                    self._keys.add(key)

    async def keep(self, given: Iterable[Label], now: int) -> list[Label]:
        """Keep those that are news, as one object and durably, and return them. What is given later stands, also
        where a clock was set back in between."""
        if len(self._own) >= MOST_OWN:
            await self.fold()
        await self.refresh()
        news = sorted(
            (each for each in given if self.standing(each.query_id, drawn=each.selected_by == AUDIT) != each),
            key=lambda each: each.query_id,
        )
        if news:
            at = max([now, *(self._given_at.get(each.query_id, now - 1) + 1 for each in news)])
            earlier = sorted(self._keys)
            rows = _table(self._job, news, at)
            await self._write(msgspec.json.encode([earlier, news]), rows)
            self._add(rows)
        return news

    async def fold(self) -> None:
        """What this process wrote, as one object. Killed in between, some rows are there twice, none is lost."""
        old = dict(self._own)
        if len(old) > 1:
            await self._write(msgspec.json.encode(sorted(old)), pa.concat_tables(old.values()))
            await self._storage.delete(list(old))
            for key in old:
                del self._own[key]

    async def _write(self, made_from: bytes, rows: pa.Table) -> None:
        digest = hashlib.sha256(made_from).hexdigest()[:16]
        key = f"{lake.feedback(self._job)}{digest}.parquet"
        await self._storage.create(key, _parquet(rows))
        self._own[key] = rows
        self._keys.add(key)

    def _add(self, rows: pa.Table) -> None:
        times = rows["given_at"].cast(pa.int64()).to_pylist()
        for row, given_at in zip(rows.drop_columns(["given_at"]).to_pylist(), times, strict=True):
            label = Label(**{name: row.get(name) for name in Label.__struct_fields__})
            _put(self.latest, self._given_at, label, given_at)
            if label.selected_by == AUDIT:
                _put(self.audited, self._audited_at, label, given_at)


def label_of(parse: Parser, said: Any) -> tuple[str | None, str]:
    """As answers stand in tables, or None and why it is no label of the task."""
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    answer = parse(Completion(text=text, finish_reason="stop"))
    return answer_text(answer.value), answer.problem


def _put(standing: dict[str, Label], times: dict[str, int], label: Label, given_at: int) -> None:
    if _stands(label, given_at, standing.get(label.query_id), times.get(label.query_id)):
        standing[label.query_id], times[label.query_id] = label, given_at


def _stands(label: Label, given_at: int, before: Label | None, before_at: int | None) -> bool:
    """The later one; in the same millisecond the same one for every reader, as in the view `reviewed`."""
    if before is None or before_at is None or given_at != before_at:
        return before_at is None or given_at > before_at
    return (label.label is None, label.label or "") < (before.label is None, before.label or "")


def _table(job: JobId, labels: Sequence[Label], given_at: int) -> pa.Table:
    columns: dict[str, Any] = {
        name: [getattr(each, name) for each in labels] for name in Label.__struct_fields__
    }
    columns["job"] = [job] * len(labels)
    columns["given_at"] = pa.array([given_at] * len(labels), pa.int64()).cast(TIME)
    return pa.table(columns, schema=FEEDBACK)


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()
