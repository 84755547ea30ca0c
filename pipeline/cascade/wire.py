"""The wire to a tier: so many calls at a time, by a number that may change."""

import asyncio
from collections import deque


class Wire:
    """First come, first served. `async with wire`: on it."""

    __slots__ = ("_waiting", "limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit, self.taken = limit, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self.taken < self.limit and not self._waiting:
            self.taken += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # it was let in at the same moment
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._admit()

    def _leave(self) -> None:
        self.taken -= 1
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self.taken < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)
