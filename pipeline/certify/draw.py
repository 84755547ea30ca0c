"""Which rows are drawn: the ones with the smallest keyed hashes, whatever the order in which they pass by."""

from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import Generic, TypeVar

from schemas.ids import QueryId

Row = TypeVar("Row")
KEY_BYTES = 64


class Draw(Generic[Row]):
    """A uniform draw without replacement over a stream of rows, split into pilot and audit.

    Who knows the key knows the draw beforehand, so keep it from whoever writes the rows. Memory: pilot + audit rows.
    Of a stream with fewer rows than asked for, both parts get their share of all of it, and of two rows one each.
    """

    def __init__(self, key: bytes, pilot: int, audit: int) -> None:
        """key: 1 to 64 bytes. Raises ValueError on any other, and on a negative count."""
        if not 0 < len(key) <= KEY_BYTES or pilot < 0 or audit < 0:
            raise ValueError("a draw needs a key of 1 to 64 bytes and no negative count of rows")
        self._key = key
        self._pilot = pilot
        self._size = pilot + audit
        self._heap: list[tuple[int, QueryId]] = []  # negated hashes: the largest hash is on top
        self._rows: dict[QueryId, Row] = {}

    def offer(self, query_id: QueryId, row: Row) -> None:
        """A row passes by; the same id again changes nothing."""
        if self._size == 0 or query_id in self._rows:
            return
        entry = (-self._hash(query_id), query_id)
        if len(self._heap) < self._size:
            heappush(self._heap, entry)
        else:
            out = heappushpop(self._heap, entry)
            if out == entry:
                return
            del self._rows[out[1]]
        self._rows[query_id] = row

    @property
    def pilot(self) -> list[Row]:
        """In the order of their hashes."""
        return self._ordered()[: self._cut()]

    @property
    def audit(self) -> list[Row]:
        """In the order of their hashes: any first part of them is a uniform draw as well."""
        return self._ordered()[self._cut() :]

    def _ordered(self) -> list[Row]:
        return [self._rows[query_id] for _, query_id in sorted(self._heap, reverse=True)]

    def _cut(self) -> int:
        if len(self._heap) == self._size:
            return self._pilot
        share = round(len(self._heap) * self._pilot / self._size)
        least, most = min(self._pilot, 1), len(self._heap) - min(self._size - self._pilot, 1)
        return min(max(share, least), max(most, 0))

    def _hash(self, query_id: QueryId) -> int:
        name = query_id.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(name, digest_size=16, key=self._key).digest())
