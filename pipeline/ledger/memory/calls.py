"""Holds, settlements and the journal, in memory."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from pipeline.ledger import rules
from pipeline.ledger.errors import CallEnded, UnknownCall
from pipeline.ledger.memory.accounts import Accounts
from pipeline.ledger.rules import Balance, Former, Gate, Key, Verdict, Wait
from pipeline.ledger.waiting import Asked, WaitingRoom
from pipeline.ports.ledger import REUSED, CallRow, Denied, Held, Intent, JobRow, Kept, Known, Settlement
from schemas.errors import LedgerUnreachable
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano
from schemas.records import Pin, Tally, Totals


class Batch(msgspec.Struct):
    """A batch as its last holder left it."""

    published_at: int  # Unix ms
    committed: bool = False
    fence: int = 0
    owner: str = ""
    lease_until: int = 0  # Unix ms; 0: given back
    attempts: int = 0
    seen: int = 0  # replies journalled when it was leased last
    pin: Pin | None = None
    noted: tuple[int, Tally] | None = None  # by whose fence


class _Call(msgspec.Struct):
    intent: Intent
    former: Former
    held_at: int  # Unix ms
    news: Settlement | None = None


class Calls(Accounts):
    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        super().__init__()
        self.url = url
        self._clock = clock
        self._jobs: dict[JobId, JobRow] = {}
        self._batches: dict[tuple[JobId, Generation, BatchIndex], Batch] = {}
        self._calls: dict[CallId, _Call] = {}
        self._formers: dict[Key, list[Former]] = defaultdict(list)
        self._by_generation: dict[tuple[JobId, Generation], list[CallId]] = defaultdict(list)
        self._intents: set[tuple[object, ...]] = set()
        self._room = WaitingRoom()
        self._retry: asyncio.Handle | None = None
        self._closed = False

    async def hold(self, intent: Intent) -> Held | Known | Denied:
        rules.check_hold(intent)
        if self._closed:
            raise LedgerUnreachable(url=self.url, why="it was closed")
        behind = set(self._room.behind(()))
        verdict = self._decide(intent, behind)
        if not isinstance(verdict, Wait):
            return verdict
        asked = Asked(intent, asyncio.get_running_loop().create_future(), time.monotonic())
        self._room.put(asked, verdict)
        try:
            return await asked.future  # type: ignore[return-value]  # a Wait is never set
        except asyncio.CancelledError:
            self._take_back(asked)
            raise

    def _take_back(self, asked: Asked) -> None:
        """The caller went away: what it was granted meanwhile was never sent."""
        granted = asked.future
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            verdict = granted.result()
            if isinstance(verdict, Held):
                self._settle(Settlement(call_id=verdict.call_id, outcome="unreachable", cost=Nano(0)))

    def _decide(self, intent: Intent, blocked: set[AccountId]) -> Verdict:
        chain, same = self._chain(intent.account), self._formers[rules.key_of(intent)]
        lease = intent.lease
        row, found = self._jobs.get(lease.job), self._batches.get((lease.job, lease.generation, lease.batch))
        gate = (
            None if row is None or found is None else Gate(row.generation, row.state, row.stop, found.fence)
        )
        verdict = rules.decide(intent, gate, same, chain, blocked)
        if isinstance(verdict, Held) and all(former.call_id != intent.call_id for former in same):
            return self._insert(intent, verdict.attempt, chain, same)
        return verdict

    def _insert(self, intent: Intent, attempt: int, chain: Iterable[Balance], same: list[Former]) -> Held:
        if intent.call_id in self._calls:
            raise CallEnded(call=intent.call_id)
        lease, meant = intent.lease, rules.intent_key(intent)
        while (*meant, attempt) in self._intents:
            attempt += 1
        self._intents.add((*meant, attempt))
        former = Former(
            intent.call_id,
            "held",
            attempt,
            query_id=intent.query_id,
            step=intent.step,
            purpose=intent.purpose,
        )
        same.append(former)
        self._calls[intent.call_id] = _Call(intent, former, self._clock())
        self._by_generation[(lease.job, lease.generation)].append(intent.call_id)
        for balance in chain:
            balance.move(0, intent.amount, 0)
        return Held(intent.call_id, attempt)

    async def settle(self, settlement: Settlement) -> bool:
        rules.check_settlement(settlement)
        if settlement.call_id not in self._calls:
            raise UnknownCall(call=settlement.call_id)
        return self._settle(settlement)

    def _settle(self, settlement: Settlement) -> bool:
        call = self._calls[settlement.call_id]
        former, amount = call.former, call.intent.amount
        effect = rules.effect_of(
            settlement,
            state=former.state,
            amount=amount,
            charged=former.cost,
            replied=rules.is_reply(former.outcome, former.body),
        )
        if effect is not None:
            self._move(call, effect.spent, effect.held, effect.presumed)
            former.state, former.cost = effect.state, effect.cost
            self._journal(call, settlement)
            if former.cost > amount:
                row = self._jobs[call.intent.lease.job]
                self._jobs[row.job] = msgspec.structs.replace(row, stop="over_hold")
            self._wake()
        return former.cost <= amount

    def _journal(self, call: _Call, settlement: Settlement) -> None:
        former = call.former
        former.outcome, former.usage, former.settled_at = settlement.outcome, settlement.usage, self._clock()
        former.latency_ms = settlement.latency_ms
        former.body = former.body if settlement.body is None else settlement.body
        call.news = settlement

    def _move(self, call: _Call, spent: int, held: int, presumed: int) -> None:
        for balance in self._chain(call.intent.account):
            balance.move(spent, held, presumed)

    def _wake(self) -> None:
        """Look at who waits, once for all that happens in this turn of the loop."""
        if len(self._room) and self._retry is None:
            self._retry = asyncio.get_running_loop().call_soon(self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        progress = False
        blocked: set[AccountId] = set()
        due = self._room.due(money=True, ended=(), everyone=True, most=len(self._room))
        for asked in due:
            try:
                verdict = self._decide(asked.intent, blocked)
            except Exception as error:
                asked.future.set_exception(error)
                continue
            if not isinstance(verdict, Wait):
                asked.future.set_result(verdict)
                progress = True
                continue
            self._room.put(asked, verdict)
            blocked.update(() if verdict.account is None else (verdict.account,))
        self._room.leave([asked for asked in due if asked.future.done()])
        if progress:
            self._wake()

    async def calls(
        self, job: JobId, generation: Generation, batch: BatchIndex | None = None
    ) -> Sequence[CallRow]:
        found = self._calls_of(job, generation, batch)
        return sorted((_row(call) for call in found), key=lambda row: row.batch)

    async def totals(self, job: JobId, generation: Generation) -> dict[BatchIndex, Totals]:
        sums: dict[BatchIndex, Totals] = defaultdict(Totals)
        for row in await self.calls(job, generation):
            sums[row.batch] += Totals(
                calls=1, cost=row.cost, presumed=int(row.presumed), held=int(row.outcome is None)
            )
        return dict(sums)

    def _calls_of(self, job: JobId, generation: Generation, batch: BatchIndex | None) -> list[_Call]:
        found = [self._calls[call_id] for call_id in self._by_generation[(job, generation)]]
        return [call for call in found if batch is None or call.intent.lease.batch == batch]

    async def body(self, call_id: CallId) -> bytes | None:
        call = self._calls.get(call_id)
        return None if call is None else call.former.body

    async def answered(self, job: JobId, request_hashes: Sequence[bytes]) -> set[bytes]:
        def is_answered(request_hash: bytes) -> bool:
            formers = self._formers.get((job, request_hash, 0), ())
            return any(rules.is_reply(former.outcome, former.body) for former in formers)

        return set(filter(is_answered, request_hashes))

    async def replies(
        self, request_hashes: Sequence[bytes], *, since: int, besides: JobId
    ) -> dict[bytes, Kept]:
        wanted = set(request_hashes)
        found = [
            (former.settled_at, former.call_id, request_hash, former.body)
            for (job, request_hash, sample), formers in self._formers.items()
            if request_hash in wanted and job != besides and sample == 0
            for former in formers
            if former.outcome == "ok" and former.purpose in REUSED and former.settled_at >= since
        ]
        return {
            request_hash: Kept(call_id, body)
            for _, call_id, request_hash, body in sorted(found)
            if body is not None
        }

    async def presume(self, job: JobId, generation: Generation) -> int:
        return self._presume(self._calls_of(job, generation, None))

    def _presume(self, calls: Iterable[_Call]) -> int:
        held = [call for call in calls if call.former.state == "held"]
        for call in held:
            amount = call.intent.amount
            self._move(call, amount, -amount, amount)
            call.former.state, call.former.outcome, call.former.cost = "presumed", "presumed", amount
            call.former.settled_at = self._clock()
        self._wake()
        return len(held)

    async def close(self) -> None:
        self._closed = True
        for asked in self._room.empty():
            if not asked.future.done():
                asked.future.set_exception(LedgerUnreachable(url=self.url, why="it was closed"))


def _row(call: _Call) -> CallRow:
    intent, former, news = call.intent, call.former, call.news
    return CallRow(
        call_id=intent.call_id,
        job=intent.lease.job,
        generation=intent.lease.generation,
        batch=intent.lease.batch,
        query_id=intent.query_id,
        step=intent.step,
        purpose=intent.purpose,
        tier=intent.tier,
        model=intent.model,
        lane=intent.lane,
        sample=intent.sample,
        attempt=former.attempt,
        outcome=former.outcome,
        finish_reason=news.finish_reason if news else "",
        usage=former.usage,
        held=intent.amount,
        cost=Nano(former.cost),
        presumed=former.state == "presumed",
        latency_ms=former.latency_ms,
        sent_at=news.sent_at if news else 0,
        request_hash=intent.request_hash,
        error=news.error if news else "",
        held_at=call.held_at,
    )
