"""Answers of closed jobs to look back at: documents like them are shown with their answers, or copy one."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ports.encoder import Encoder
from schemas.ids import CallId, QueryId, TierName
from schemas.records import Query

EXAMPLE_BYTES = 2000  # of an example and its answer; longer ones are not shown
ROWS = 1000  # compared with one another at a time


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """A query of a closed job."""

    job: str
    query_id: QueryId
    text: str
    answer: str
    label: str | None  # gold, or a person's
    confidence: float | None
    tier: TierName
    model: str
    call_id: CallId


class Twin(msgspec.Struct, frozen=True):
    """Whose answer a query copies: a row of its batch, or a former query."""

    of: int | Former
    cosine: float


class Past:
    """Rows are looked at in the order given, the first of equals wins. Same rows, same queries: same result."""

    def __init__(
        self, rows: Sequence[Former], encoder: Encoder, *, shown: Sequence[tuple[str, str] | None]
    ) -> None:
        """`shown`: each row as an example; None: it may not be shown."""
        self._rows, self._encoder, self._shown = rows, encoder, shown
        self._vectors = encoder.encode([row.text for row in rows])  # (rows, dimensions)

    def with_examples(self, queries: Sequence[Query], count: int) -> list[Query]:
        """Each query with the rows most like it, the most similar last; never with itself."""
        if not count:
            return list(queries)
        made: list[Query] = []
        for start in range(0, len(queries), ROWS):
            part = queries[start : start + ROWS]
            likeness = self._likeness(part)
            made += [
                msgspec.structs.replace(query, examples=self._choose(query, row, count))
                for query, row in zip(part, likeness, strict=True)
            ]
        return made

    def _choose(self, query: Query, likeness: NDArray[np.float32], count: int) -> tuple[tuple[str, str], ...]:
        chosen: list[tuple[str, str]] = []
        for at in np.argsort(-likeness, kind="stable"):
            row, shown = self._rows[at], self._shown[at]
            if likeness[at] <= 0 or len(chosen) == count:
                break
            if shown is not None and row.query_id != query.query_id and row.text != query.text:
                chosen.append(shown)
        return tuple(reversed(chosen))

    def twins(self, queries: Sequence[Query], threshold: float) -> dict[int, Twin]:
        """By row, whose answer it may copy: a former query's, else that of a row before it that copies none."""
        found: dict[int, Twin] = {}
        for start in range(0, len(queries), ROWS):
            part = queries[start : start + ROWS]
            found |= self._former_twins(part, start, threshold)
            alone = [
                start + at
                for at, query in enumerate(part)
                if query.rejected is None and start + at not in found
            ]
            vectors = self._encoder.encode([queries[at].text for at in alone])
            found |= _twins_among(alone, vectors, threshold)
        return found

    def _former_twins(self, queries: Sequence[Query], start: int, threshold: float) -> dict[int, Twin]:
        if not self._rows:
            return {}
        likeness = self._likeness(queries)
        best = likeness.argmax(axis=1)
        return {
            start + at: Twin(self._rows[former], float(likeness[at, former]))
            for at, former in enumerate(best)
            if likeness[at, former] >= threshold and queries[at].rejected is None
        }

    def _likeness(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Cosines, shape (queries, rows); rounded, so that the last bits of a processor decide nothing."""
        vectors = self._encoder.encode([query.text for query in queries])
        return np.round(vectors @ self._vectors.T, 4)


def _twins_among(rows: Sequence[int], vectors: NDArray[np.float32], threshold: float) -> dict[int, Twin]:
    likeness = np.round(vectors @ vectors.T, 4)
    leading: list[int] = []
    found = {}
    for at, row in enumerate(rows):
        among = likeness[at, leading]
        if len(among) and among.max() >= threshold:
            best = int(among.argmax())
            found[row] = Twin(rows[leading[best]], float(among[best]))
        else:
            leading.append(at)
    return found


def read_past(table: pa.Table) -> list[Former]:
    return msgspec.convert(table.to_pylist(), list[Former])
