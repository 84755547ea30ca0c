"""Exact reuse: the ledger's journal holds every reply that any job paid for."""

import asyncio

from pipeline.ports.ledger import Kept, Ledger
from schemas.ids import JobId


class JournalHistory:
    """What comes in one turn of the event loop, as a batch's first calls do, is one look into the journal."""

    def __init__(self, ledger: Ledger, job: JobId, since: int) -> None:
        """`since`: Unix ms; no older reply is used again."""
        self._ledger, self._job, self._since = ledger, job, since
        self._asked: list[tuple[bytes, asyncio.Future[Kept | None]]] = []
        self._looking: set[asyncio.Task[None]] = set()

    async def find(self, request_hash: bytes) -> Kept | None:
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._begin)
        future: asyncio.Future[Kept | None] = loop.create_future()
        self._asked.append((request_hash, future))
        return await future

    def _begin(self) -> None:
        asked, self._asked = self._asked, []
        task = asyncio.get_running_loop().create_task(self._look(asked))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self, asked: list[tuple[bytes, "asyncio.Future[Kept | None]"]]) -> None:
        wanted = list({request_hash for request_hash, _ in asked})
        try:
            found = await self._ledger.replies(wanted, since=self._since, besides=self._job)
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for request_hash, future in asked:
            if not future.done():  # else its caller went away
                future.set_result(found.get(request_hash))
