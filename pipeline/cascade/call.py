"""The one door to a tier: history and hold, send, journal and settle, then read. Money never takes another way."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from pipeline.cascade.attempts import Attempts
from pipeline.cascade.holder import Holder, Stopped
from pipeline.cascade.limits import Parked
from pipeline.cascade.rung import Asked, Rung, outcome_of
from pipeline.ports.history import History
from pipeline.ports.ledger import REUSED, Denied
from schemas.ids import Nano, QueryId
from schemas.money import Usage
from schemas.records import Completion, Purpose, Request

ABANDONED = Asked(completion=None, problem="abandoned")  # what others are told who wait for a call given up


@dataclass(kw_only=True, slots=True, eq=False)
class Caller(Holder):
    """Calls of one lease."""

    _in_flight: dict[bytes, asyncio.Future[Asked]] = field(default_factory=dict, init=False)

    async def ask(
        self,
        rung: Rung,
        request: Request,
        query_id: QueryId,
        *,
        purpose: Purpose = "answer",
        sample: int = 0,
        usable: Callable[[Completion], bool] = lambda completion: True,
    ) -> Asked:
        """Ask a tier; equal requests of this process share one call in flight, those of others the ledger joins.
        What another job was answered is taken over where it is `usable`."""
        body = rung.provider.encode(request)
        history = self.encoded if purpose == "embed" else self.history
        identity = self.identity(rung, body, QueryId("") if purpose == "embed" else query_id, sample)
        while (shared := self._in_flight.get(identity)) is not None:
            asked = await asyncio.shield(shared)
            if asked.completion is not None:
                return msgspec.structs.replace(
                    asked,
                    cost=Nano(0),
                    usage=Usage(),
                    latency_ms=0,
                    reused_from=asked.reused_from or asked.call_id,
                    call_id=self.new_id(),
                )
        future: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._in_flight[identity] = future
        asked = ABANDONED
        try:
            earlier = None
            if history is not None and not rung.provider.local and not sample and purpose in REUSED:
                earlier = await self._recall(history, rung, identity, usable)
            if earlier is not None:
                asked = earlier
            elif rung.provider.local:
                asked = await self._compute(rung, body, identity)
            else:
                attempt = Attempts(self, rung, request, body, identity, query_id, purpose, sample)
                asked = await self._persist(attempt, rung)
            return asked
        finally:
            del self._in_flight[identity]
            future.set_result(asked)

    async def _recall(
        self, history: History, rung: Rung, identity: bytes, usable: Callable[[Completion], bool]
    ) -> Asked | None:
        """What another job was answered; an answer that does not parse is asked for anew."""
        kept = await history.find(identity)
        completion = rung.provider.read(kept.body) if kept else None
        if kept is None or completion is None or not usable(completion):
            return None
        return Asked(
            completion=completion,
            outcome="ok",
            call_id=self.new_id(),
            sent_at=self.clock(),
            reused_from=kept.call_id,
            request_hash=identity,
        )

    async def _persist(self, attempt: Attempts, rung: Rung) -> Asked:
        try:
            asked, decision = await attempt()
            if decision.kind in ("retry", "change") and rung.retries > 0:
                asked, decision = await attempt.persist(decision)
            while decision.kind == "retry" and rung.retries > 0 and rung.pace.down:
                asked, decision = await attempt.persist(decision)  # what an outage used up was not its own
        except Parked as parked:
            return Asked(completion=None, problem=f"parked: {parked.problem}", parked=True)
        except Stopped as stopped:
            return Asked(completion=None, denied=Denied(stopped.reason), problem=stopped.reason)
        if rung.pace.down and asked.completion is None and asked.denied is None:
            return msgspec.structs.replace(asked, parked=True)
        return asked

    async def _compute(self, rung: Rung, body: bytes, identity: bytes) -> Asked:
        call_id = self.new_id()
        sent_at = self.clock()
        reply = await rung.provider.send(body, call_id)
        completion = rung.provider.read(reply.body)
        return Asked(
            completion=completion,
            outcome=outcome_of(completion),
            call_id=call_id,
            latency_ms=reply.latency_ms,
            sent_at=sent_at,
            request_hash=identity,
        )
