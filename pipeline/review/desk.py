"""One reviewer at the queue of one job: what comes next, what was said, and the way back."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.labels import Labels, label_of
from pipeline.review.queue import Item, Selected, read_items
from pipeline.review.sheet import review_of
from pipeline.task.parse import parser_of
from schemas.errors import TierwiseError
from schemas.ids import JobId
from schemas.job import Task

PAGE = 20  # queries read at a time


class NoLabel(TierwiseError):
    """This is no label of the task: {why}. Nothing was stored."""

    exit_code = 2
    fix = "Choose one of the task's labels, or correct the answer."


class NotQueued(TierwiseError):
    """The query {query_id!r} did not end for review in this job, nor was it drawn. Nothing was stored."""

    exit_code = 2
    fix = "Load the page again."


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    total: int  # queries that ended for review, or were drawn for a certificate
    waiting: int  # of them without a label
    skipped: int  # of those, put off by this reviewer
    by_you: int  # labels given here that stand


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the reviewer has before them. `item` None: nothing waits."""

    item: Item | None
    counts: Counts
    label: str | None = None  # what they had said of it, after an undo


class Desk:
    """Every label is durable before the next query is shown; others may work on the same queue."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        labels: Labels,
        job: JobId,
        task: Task,
        queue: Sequence[Selected],
        reviewer: str,
        clock: Callable[[], int],
    ) -> None:
        """`queue`: in the order it is to be shown. `clock`: Unix ms."""
        self.job, self.task, self.reviewer = job, task, reviewer
        self._connection, self._labels, self._clock = connection, labels, clock
        self._queue = {query.query_id: query for query in queue}
        self._order = deque(self._queue)
        self._parse = parser_of(task)
        self._items: dict[str, Item] = {}
        self._skipped: set[str] = set()
        self._done: list[tuple[Literal["take", "skip"], str]] = []
        self._said: dict[str, str] = {}  # labels given here that stand
        self._turn = asyncio.Lock()

    @property
    def stored(self) -> int:
        return len(self._said)

    async def show(self) -> Shown:
        """The next query without a label."""
        async with self._turn:
            await self._labels.refresh()
            return await self._show()

    async def take(self, query_id: str, said: str) -> Shown:
        """Keep this label; the next query. Raises NoLabel and NotQueued."""
        async with self._turn:
            query = self._find(query_id)
            label, problem = label_of(self._parse, said)
            if label is None:
                raise NoLabel(why=problem)
            await self._labels.keep([review_of(query, label, self.reviewer)], self._clock())
            self._done.append(("take", query_id))
            self._said[query_id] = label
            self._skipped.discard(query_id)
            return await self._show()

    async def skip(self, query_id: str) -> Shown:
        """Put off until all others have been shown. Raises NotQueued."""
        async with self._turn:
            self._find(query_id)
            self._done.append(("skip", query_id))
            self._skipped.add(query_id)
            self._move(query_id, first=False)
            return await self._show()

    async def undo(self) -> Shown:
        """The last query again, its label withdrawn. Without one before, the query at hand."""
        async with self._turn:
            if not self._done:
                return await self._show()
            did, query_id = self._done[-1]
            said = self._said.get(query_id) if did == "take" else None
            if said is not None:
                await self._withdraw(self._queue[query_id], said)
                del self._said[query_id]
            self._done.pop()
            self._skipped.discard(query_id)
            self._move(query_id, first=True)
            return msgspec.structs.replace(await self._show(), label=said)

    async def _withdraw(self, query: Selected, said: str) -> None:
        """Unless someone else has reviewed it since: then theirs stands."""
        await self._labels.refresh()
        standing = self._labels.standing(query.query_id, drawn=query.drawn)
        if standing == review_of(query, said, self.reviewer):
            await self._labels.keep([review_of(query, None, self.reviewer)], self._clock())

    def _find(self, query_id: str) -> Selected:
        query = self._queue.get(query_id)
        if query is None:
            raise NotQueued(query_id=query_id)
        return query

    def _move(self, query_id: str, *, first: bool) -> None:
        if query_id in self._order:
            self._order.remove(query_id)
        self._order.appendleft(query_id) if first else self._order.append(query_id)

    def _waits(self, query_id: str) -> bool:
        given = self._labels.standing(query_id, drawn=self._queue[query_id].drawn)
        return given is None or given.label is None

    async def _show(self) -> Shown:
        while self._order and not self._waits(self._order[0]):
            self._items.pop(self._order.popleft(), None)
        if not self._order:  # someone else may have withdrawn a label
            self._order.extend(filter(self._waits, self._queue))
        waiting = sum(map(self._waits, self._queue))
        counts = Counts(
            total=len(self._queue),
            waiting=waiting,
            skipped=sum(map(self._waits, self._skipped)),
            by_you=len(self._said),
        )
        return Shown(item=await self._item(self._order[0]) if self._order else None, counts=counts)

    async def _item(self, query_id: str) -> Item:
        if query_id not in self._items:
            page = [self._queue[each] for each in list(self._order)[:PAGE] if each not in self._items]
            items = await asyncio.to_thread(read_items, self._connection, self.job, self.task, page)
            self._items |= {item.query.query_id: item for item in items}
        return self._items[query_id]
