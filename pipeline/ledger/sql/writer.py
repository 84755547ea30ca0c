"""Group commit: one thread per ledger gathers what is asked for a few milliseconds and commits it at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipeline.ledger.rules import Verdict, Wait
from pipeline.ledger.sql.batches import presume_orphans
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.connection import Transactions
from pipeline.ledger.sql.group import run_group
from pipeline.ledger.sql.hot import Conflict, Hot
from pipeline.ledger.sql.store import Store, Tx
from pipeline.ledger.waiting import Asked, WaitingRoom
from pipeline.monitoring.meters import COMMIT_S, GROUP, Histogram
from pipeline.ports.ledger import Held, Settlement
from schemas.errors import LedgerUnreachable
from schemas.ids import Nano


class Ended:
    """A settlement; `future` is None where nobody awaits it."""

    __slots__ = ("future", "settlement")

    def __init__(self, settlement: Settlement, future: asyncio.Future[bool] | None) -> None:
        self.settlement, self.future = settlement, future


class Task:
    """Any other transaction. `wakes`: waiting holds should be looked at after it. `passing`: tried once, and only while
    somebody waits for it; an outage is not waited out, which would keep others waiting behind it."""

    __slots__ = ("future", "passing", "repeatable", "wakes", "work")

    def __init__(
        self,
        work: Callable[[Tx], Any],
        future: asyncio.Future[Any],
        *,
        wakes: bool,
        repeatable: bool,
        passing: bool = False,
    ) -> None:
        self.work, self.future, self.wakes, self.repeatable = work, future, wakes, repeatable
        self.passing = passing


class Groups:
    """How many operations shared a transaction, and the seconds until it was durable."""

    def __init__(self) -> None:
        self.operations, self.seconds = Histogram.of(GROUP), Histogram.of(COMMIT_S)

    def observe(self, operations: int, seconds: float) -> None:
        self.operations.observe(operations)
        self.seconds.observe(seconds)


Operation = Asked | Ended | Task
Outcomes = list[tuple[Operation, Any]]


class Writer:
    """Owns the writing thread and its connection. Futures are resolved only after COMMIT."""

    def __init__(
        self,
        store: Store,
        chains: Chains,
        clock: Callable[[], int],
        *,
        max_wait_ms: float,
        max_group: int,
        patience_s: float,
        poll_s: tuple[float, float],
        orphan_after_s: float,
        groups: Groups,
    ) -> None:
        self._groups = groups
        self._store, self._chains, self._clock = store, chains, clock
        self._max_wait_s, self._max_group = max_wait_ms / 1000, max_group
        self._orphan_after_s = orphan_after_s
        self._transactions = Transactions(store, chains, patience_s=patience_s)
        self._room = WaitingRoom(poll_s=poll_s)
        self._condition = threading.Condition()
        self._queue: list[Operation] = []
        self._since = 0.0  # when the oldest operation of the queue came
        self._idle = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._woken = False  # somebody who waits may have luck now
        self._poll_at = 0.0
        self._swept_at = time.monotonic()

    def submit(self, operation: Operation) -> None:
        with self._condition:
            if self._closing:
                raise LedgerUnreachable(url=self._store.url, why="it was closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
                self._thread.start()
            if not self._queue:
                self._since = time.monotonic()
            self._queue.append(operation)
            if self._idle or len(self._queue) >= self._max_group:
                self._condition.notify()

    def close(self) -> None:
        """Finish what was asked, then stop; blocks."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (operations := self._gather()) is not None:
            self._round(operations)
        gone = LedgerUnreachable(url=self._store.url, why="it was closed")
        self._deliver([(asked, gone) for asked in self._room.empty()])
        self._transactions.close()

    def _gather(self) -> list[Operation] | None:
        with self._condition:
            while not self._queue:
                if self._closing:
                    return None
                pause = self._pause_s()
                if pause is not None and pause <= 0:
                    return []
                self._idle = True
                self._condition.wait(pause)
                self._idle = False
            while len(self._queue) < self._max_group and not self._closing:
                left = self._since + self._max_wait_s - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            taken, self._queue = self._queue[: self._max_group], self._queue[self._max_group :]
            return taken

    def _pause_s(self) -> float | None:
        if not len(self._room):
            return None
        return 0.0 if self._woken else self._poll_at - time.monotonic()

    def _round(self, operations: Sequence[Operation]) -> None:
        ended: list[Ended] = []
        new: list[Asked] = []
        for operation in operations:
            if isinstance(operation, Ended):
                ended.append(operation)
            elif isinstance(operation, Task):
                self._do(operation)
            elif not operation.future.cancelled():
                new.append(operation)
        waited = self._waited(ended)
        if ended or new or waited:
            begun = time.perf_counter()
            self._group(ended, waited, new)
            self._groups.observe(len(ended) + len(waited) + len(new), time.perf_counter() - begun)

    def _do(self, task: Task) -> None:
        if task.passing and task.future.cancelled():
            return
        try:
            value = self._transactions.run(task.work, repeatable=task.repeatable, patient=not task.passing)
        except Exception as error:
            value = error
        self._woken = self._woken or task.wakes
        self._deliver([(task, value)])

    def _waited(self, ended: Sequence[Ended]) -> list[Asked]:
        """Who of the waiting room takes part in this round."""
        if not len(self._room):
            return []
        now = time.monotonic()
        everyone = self._woken or now >= self._poll_at
        if everyone:
            self._sweep(now)
        calls = {end.settlement.call_id for end in ended}
        return self._room.due(money=bool(ended), ended=calls, everyone=everyone, most=self._max_group)

    def _sweep(self, now: float) -> None:
        oldest = self._room.oldest()
        if oldest is None or now - max(oldest, self._swept_at) < self._orphan_after_s:
            return
        self._swept_at = now
        clock = self._clock()
        try:
            self._transactions.run(lambda tx: presume_orphans(tx, self._chains, clock), repeatable=True)
        except LedgerUnreachable:
            return  # the group that follows meets the same outage and tells those who wait

    def _group(self, ended: Sequence[Ended], waited: Sequence[Asked], new: Sequence[Asked]) -> None:
        outcomes: Outcomes
        try:
            outcomes = self._commit(ended, waited, new)
        except LedgerUnreachable as error:
            everyone: list[Operation] = [*ended, *waited, *new]
            outcomes = [(operation, error) for operation in everyone]
        except Exception:
            # one operation the database does not take must not fail those that only stood beside it
            outcomes = [*(self._alone([end], [], []) for end in ended)]
            outcomes += [self._alone([], [asked], []) for asked in waited]
            outcomes += [self._alone([], [], [asked]) for asked in new]
        if len(self._room) or any(isinstance(outcome, Wait) for _, outcome in outcomes):
            self._after(outcomes, waited)
            outcomes = [pair for pair in outcomes if not isinstance(pair[1], Wait)]
        else:
            self._woken = False
        self._deliver(outcomes)

    def _alone(self, *parts: Sequence[Any]) -> tuple[Operation, Any]:
        try:
            return self._commit(*parts)[0]
        except Exception as error:
            operation: Operation = next(part[0] for part in parts if part)
            return (operation, error)

    def _commit(self, ended: Sequence[Ended], waited: Sequence[Asked], new: Sequence[Asked]) -> Outcomes:
        asked = [*waited, *new]
        settlements = [end.settlement for end in ended]
        intents = [one.intent for one in asked]
        behind, now = self._room.behind(waited), self._clock()

        def work(hot: Hot, careful: bool) -> tuple[list[bool], list[Verdict]]:
            return run_group(
                hot, settlements, intents, waited=len(waited), behind=behind, now=now, careful=careful
            )

        try:
            within, verdicts = self._transactions.run_hot(partial(work, careful=False))
        except Conflict:
            within, verdicts = self._transactions.run_hot(partial(work, careful=True))
        return [*zip(ended, within, strict=True), *zip(asked, verdicts, strict=True)]

    def _after(self, outcomes: Outcomes, waited: Sequence[Asked]) -> None:
        """Keep the waiting room: who goes on waiting, who leaves, when to look again."""
        gone: list[Asked] = []
        for operation, outcome in outcomes:
            if isinstance(operation, Asked):
                if isinstance(outcome, Wait):
                    self._room.put(operation, outcome)
                elif operation.wait is not None:
                    gone.append(operation)
        self._room.leave(gone)
        if waited:
            self._room.turn(waited)
        self._woken = bool(gone)
        if len(self._room):
            self._poll_at = time.monotonic() + self._room.next_poll_s(bool(gone))

    def _deliver(self, outcomes: Outcomes) -> None:
        """One wake-up of each event loop for the whole group."""
        loops = {operation.future.get_loop() for operation, _ in outcomes if operation.future is not None}
        for loop in loops:
            pairs = outcomes
            if len(loops) > 1:
                pairs = [pair for pair in outcomes if pair[0].future and pair[0].future.get_loop() is loop]
            try:
                loop.call_soon_threadsafe(self._resolve, pairs)
            except RuntimeError:  # the loop is closed: nobody is left to use what was granted
                for operation, value in pairs:
                    self._unwanted(operation, value)

    def _resolve(self, outcomes: Outcomes) -> None:
        for operation, value in outcomes:
            future = operation.future
            if future is None:
                continue
            if future.done():
                self._unwanted(operation, value)
            elif isinstance(value, Exception):
                future.set_exception(value)
            else:
                future.set_result(value)

    def _unwanted(self, operation: Operation, value: Any) -> None:
        if isinstance(operation, Asked) and isinstance(value, Held):
            self.give_up(value)

    def give_up(self, held: Held) -> None:
        """Release a hold whose caller went away before it sent anything."""
        settlement = Settlement(call_id=held.call_id, outcome="unreachable", cost=Nano(0), error="never sent")
        try:
            self.submit(Ended(settlement, None))
        except LedgerUnreachable:
            return  # closed meanwhile: the next lease of its batch charges it
