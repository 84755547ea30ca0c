"""The holder of a lease: what its calls share, how they wait, and what ends them all."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeVar

from pipeline.cascade.rung import Rung
from pipeline.ports.history import History
from pipeline.ports.ledger import Ledger, StopReason
from schemas.errors import LakeUnreachable, LeaseLost, LedgerUnreachable
from schemas.ids import AccountId, CallId, QueryId
from schemas.records import Lease

T = TypeVar("T")


class Yielded(Exception):
    """The batch has used up its time; what is journalled costs nothing when it is taken up again."""


class Stopped(Exception):
    """The job was cancelled or halted while a call waited for its turn."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


# What no query can take upon itself: it ends the work of this holder.
CONCERNS_THE_BATCH = (Yielded, LeaseLost, LedgerUnreachable, LakeUnreachable)


@dataclass(kw_only=True, slots=True, eq=False)
class Holder:
    """Once `time_is_up`, no further call is begun; once the lease has run out, none is sent."""

    ledger: Ledger
    lease: Lease
    account: AccountId
    clock: Callable[[], int]
    new_id: Callable[[], CallId]
    random: Callable[[], float]
    share: bool  # whether equal requests of different queries are one
    lease_until: int  # Unix ms; moved on with each renewal
    history: History | None = None  # None: nothing of other jobs is used again
    encoded: History | None = None  # the same of embeddings
    time_is_up: bool = False
    _waits: set[asyncio.Future[Any]] = field(default_factory=set, init=False)

    def end_waits(self, why: Yielded | Stopped) -> None:
        """Wake whoever waits for a turn or for the next attempt."""
        for future in self._waits:
            if not future.done():
                future.set_exception(why)

    async def until(self, future: asyncio.Future[T]) -> T:
        """Await it; raises Yielded or Stopped as soon as the batch is to end."""
        if self.time_is_up:
            raise Yielded
        self._waits.add(future)
        try:
            return await future
        finally:
            self._waits.discard(future)

    async def rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _ring, future)
        try:
            await self.until(future)
        finally:
            timer.cancel()

    async def free(self, request_hashes: Sequence[bytes]) -> set[bytes]:
        """Those of the requests that cost nothing: this job was answered before, or another."""
        known = await self.ledger.answered(self.lease.job, request_hashes)
        rest = [each for each in request_hashes if each not in known]
        if self.history is not None and rest:
            kept = await asyncio.gather(*map(self.history.find, rest))
            known |= {each for each, found in zip(rest, kept, strict=True) if found is not None}
        return known

    def identity(self, rung: Rung, body: bytes, query_id: QueryId, sample: int = 0) -> bytes:
        """What makes the request equal to another, in the journal too. Without a query: whoever asks."""
        digest = blake2b(body, digest_size=16)
        asked_by = f"\0{query_id}" if query_id and not self.share else ""
        digest.update(f"\0{rung.pace.allowed.upstream}\0{sample}{asked_by}".encode())
        return digest.digest()


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
