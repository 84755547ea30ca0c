"""Holds that wait: in the order they came, for money that is only held or for an equal call in flight."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence

from pipeline.ledger.rules import Verdict, Wait
from pipeline.ports.ledger import Intent
from schemas.ids import AccountId, CallId


class Asked:
    """A hold somebody awaits."""

    __slots__ = ("future", "intent", "since", "wait")

    def __init__(self, intent: Intent, future: asyncio.Future[Verdict], since: float) -> None:
        self.intent, self.future, self.since = intent, future, since
        self.wait: Wait | None = None  # why it was put off; None while it is new


class WaitingRoom:
    """First come, first served for each account; whoever waits keeps no money."""

    def __init__(self, window: int = 32, poll_s: tuple[float, float] = (0.05, 0.25)) -> None:
        self._window = window  # holds looked at per account and round, so that a round stays cheap
        self._first_s, self._last_s = poll_s
        self._poll_s = self._first_s
        self._asked: list[Asked] = []

    def __len__(self) -> int:
        return len(self._asked)

    def due(self, *, money: bool, ended: Collection[CallId], everyone: bool, most: int) -> list[Asked]:
        """Who to look at again: `money` was freed, calls have `ended`, or it is time for `everyone`."""
        self._asked = [asked for asked in self._asked if not asked.future.done()]
        seen: Counter[AccountId] = Counter()
        found: list[Asked] = []
        for asked in self._asked:
            wait = asked.wait or Wait()
            if wait.account is not None:
                if (money or everyone) and seen[wait.account] < self._window:
                    seen[wait.account] += 1
                    found.append(asked)
            elif everyone or wait.call in ended:
                found.append(asked)
            if len(found) == most:
                break
        return found

    def behind(self, looked_at: Sequence[Asked]) -> frozenset[AccountId]:
        """Accounts that somebody else here waits for: nobody new may overtake."""
        included = set(map(id, looked_at))
        return frozenset(
            asked.wait.account
            for asked in self._asked
            if asked.wait is not None and asked.wait.account is not None and id(asked) not in included
        )

    def put(self, asked: Asked, wait: Wait) -> None:
        if asked.wait is None:
            self._asked.append(asked)
        asked.wait = wait

    def leave(self, gone: Sequence[Asked]) -> None:
        leaving = set(map(id, gone))
        if leaving:
            self._asked = [asked for asked in self._asked if id(asked) not in leaving]

    def turn(self, looked_at: Sequence[Asked]) -> None:
        """Those who wait for a call go to the back after a fruitless look, so that all get their look."""
        fruitless = {
            id(asked) for asked in looked_at if asked.wait is not None and asked.wait.call is not None
        }
        self._asked.sort(key=lambda asked: id(asked) in fruitless)

    def oldest(self) -> float | None:
        return min((asked.since for asked in self._asked), default=None)

    def empty(self) -> list[Asked]:
        asked, self._asked = self._asked, []
        return asked

    def next_poll_s(self, progress: bool) -> float:
        """Seconds to the next look at everyone: soon after progress, then less and less often."""
        self._poll_s = self._first_s if progress else min(self._poll_s * 1.5, self._last_s)
        return self._poll_s * random.uniform(0.8, 1.2)
