"""The one door to a tier: history and hold, send, journal and settle, then read. Money never takes another way."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from pipeline.cascade.retry import Decision, decide, simpler
from pipeline.ports.ledger import Denied, Held, Intent, Known, Ledger, Settlement
from pipeline.ports.provider import Provider
from schemas.errors import LeaseLost
from schemas.ids import AccountId, CallId, Nano, QueryId, TierName
from schemas.money import Usage
from schemas.records import Completion, Lease, Outcome, Purpose, Reply, Request

OUTCOMES: dict[str, Outcome] = {
    "length": "truncated",
    "malformed": "malformed",
    "refusal": "refused",
    "content_filter": "refused",
}


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A tier as it runs in this process."""

    name: TierName
    provider: Provider
    slots: asyncio.Semaphore  # calls on the wire
    begun: asyncio.Semaphore  # calls between hold and settlement: some more, so that the wire is never idle
    trust: float
    retries: int
    logprobs: bool
    max_output_tokens: int | None  # overrides the task's
    room: int  # estimated tokens of the longest document it can read


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking a tier once, retries included. Without a completion, `problem` says why."""

    completion: Completion | None
    outcome: Outcome | None = None
    call_id: CallId | None = None
    problem: str = ""
    denied: Denied | None = None
    cost: Nano = Nano(0)  # of the attempt that was read
    usage: Usage = Usage()
    latency_ms: int = 0
    sent_at: int = 0
    reused: bool = False  # the answer to an equal request, at no cost
    request_hash: bytes = b""


class Yielded(Exception):
    """The batch has used up its time; what is journalled costs nothing when it is taken up again."""


class Caller:
    """Calls of one lease. Once `time_is_up`, no further call is begun."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        account: AccountId,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], CallId],
        random: Callable[[], float],
        share: bool,
    ) -> None:
        self._ledger, self._lease, self._account = ledger, lease, account
        self._clock, self._new_id, self._random, self._share = clock, new_id, random, share
        self._in_flight: dict[bytes, asyncio.Future[Asked]] = {}
        self.time_is_up = False

    async def ask(
        self, rung: Rung, request: Request, query_id: QueryId, *, purpose: Purpose = "answer", sample: int = 0
    ) -> Asked:
        """Ask a tier; equal requests of this process share one call in flight, those of others the ledger joins."""
        body = rung.provider.encode(request)
        identity = self._identity(rung, body, query_id, sample)
        while (shared := self._in_flight.get(identity)) is not None:
            asked = await asyncio.shield(shared)
            if asked.completion is not None:
                return msgspec.structs.replace(
                    asked, cost=Nano(0), usage=Usage(), latency_ms=0, reused=True, call_id=self._new_id()
                )
        future: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._in_flight[identity] = future
        asked = Asked(completion=None, problem="abandoned")
        try:
            asked = await self._ask(rung, request, body, identity, query_id, purpose, sample)
            return asked
        finally:
            del self._in_flight[identity]
            future.set_result(asked)

    def _identity(self, rung: Rung, body: bytes, query_id: QueryId, sample: int) -> bytes:
        digest = blake2b(body, digest_size=16)
        digest.update(f"\0{rung.name}\0{rung.provider.model}\0{sample}".encode())
        if not self._share:
            digest.update(f"\0{query_id}".encode())
        return digest.digest()

    async def _ask(
        self,
        rung: Rung,
        request: Request,
        body: bytes,
        identity: bytes,
        query_id: QueryId,
        purpose: Purpose,
        sample: int,
    ) -> Asked:
        if rung.provider.local:
            return await self._compute(rung, body, identity)
        attempt = _Attempts(self, rung, request, body, identity, query_id, purpose, sample)
        asked, decision = await attempt()
        if decision.kind in ("retry", "change") and rung.retries > 0:
            asked, _ = await attempt.persist(decision)
        return asked

    async def _compute(self, rung: Rung, body: bytes, identity: bytes) -> Asked:
        call_id = self._new_id()
        sent_at = self._clock()
        reply = await rung.provider.send(body, call_id)
        completion = rung.provider.read(reply.body)
        return Asked(
            completion=completion,
            outcome=OUTCOMES.get(completion.finish_reason, "ok"),
            call_id=call_id,
            latency_ms=reply.latency_ms,
            sent_at=sent_at,
            request_hash=identity,
        )


class _Attempts:
    """The attempts of one call, each with a hold of its own."""

    def __init__(
        self,
        caller: Caller,
        rung: Rung,
        request: Request,
        body: bytes,
        identity: bytes,
        query_id: QueryId,
        purpose: Purpose,
        sample: int,
    ) -> None:
        self._caller, self._rung, self._request, self._body = caller, rung, request, body
        self._identity, self._query_id, self._purpose, self._sample = identity, query_id, purpose, sample
        self._next = 0  # number of the next attempt

    async def __call__(self) -> tuple[Asked, Decision]:
        async with self._rung.begun:
            if self._caller.time_is_up:
                raise Yielded
            return await self._once()

    async def persist(self, first: Decision) -> tuple[Asked, Decision]:
        """Further attempts, run by tenacity; no slot and no hold is kept while it waits."""
        await asyncio.sleep(first.wait_s)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._rung.retries),
            wait=_said_wait,
            retry=retry_if_result(lambda result: result[1].kind in ("retry", "change")),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        result: tuple[Asked, Decision] = await retrying(self)
        return result

    async def _once(self) -> tuple[Asked, Decision]:
        caller, provider = self._caller, self._rung.provider
        granted = await caller._ledger.hold(self._intent(provider))
        if isinstance(granted, Denied):
            if granted.reason == "fenced":
                raise LeaseLost(name=f"batch {caller._lease.batch} of {caller._lease.job}")
            return Asked(completion=None, denied=granted, problem=granted.reason), Decision(kind="escalate")
        if isinstance(granted, Known):
            return self._read_known(granted), Decision(kind="read")
        return await self._send(granted)

    def _intent(self, provider: Provider) -> Intent:
        caller = self._caller
        return Intent(
            call_id=caller._new_id(),
            lease=caller._lease,
            account=caller._account,
            query_id=self._query_id,
            tier=self._rung.name,
            model=provider.model,
            request_hash=self._identity,
            amount=provider.bound(self._request),
            attempt=self._next,
            purpose=self._purpose,
            sample=self._sample,
        )

    async def _send(self, held: Held) -> tuple[Asked, Decision]:
        caller, rung = self._caller, self._rung
        self._next = held.attempt + 1
        async with rung.slots:
            sent_at = caller._clock()
            reply = await rung.provider.send(self._body, held.call_id)
        decision = decide(reply, self._request, held.attempt, caller._random)
        if decision.kind == "read":
            return await self._settle_read(held, reply, sent_at), decision
        amount = Nano(self._held_amount()) if decision.outcome == "presumed" else Nano(0)
        await caller._ledger.settle(
            Settlement(
                call_id=held.call_id,
                outcome=decision.outcome,
                cost=amount,
                presumed=decision.outcome == "presumed",
                latency_ms=reply.latency_ms,
                sent_at=sent_at,
                error=(reply.error or f"HTTP {reply.status}")[:500],
            )
        )
        if decision.kind == "change":
            self._change(reply)
        problem = f"{decision.outcome}: {reply.error or f'HTTP {reply.status}'}"
        asked = Asked(completion=None, outcome=decision.outcome, call_id=held.call_id, problem=problem[:300])
        return asked, decision

    def _held_amount(self) -> int:
        return self._rung.provider.bound(self._request)

    async def _settle_read(self, held: Held, reply: Reply, sent_at: int) -> Asked:
        """Journal and settle before anything is made of the reply."""
        provider = self._rung.provider
        completion = provider.read(reply.body)
        cost = completion.cost if completion.cost is not None else provider.cost(completion)
        outcome = OUTCOMES.get(completion.finish_reason, "ok")
        usage = completion.usage or Usage()
        settled = Nano(self._held_amount()) if cost is None else cost
        await self._caller._ledger.settle(
            Settlement(
                call_id=held.call_id,
                outcome=outcome,
                cost=settled,
                body=reply.body,
                usage=usage,
                finish_reason=completion.finish_reason,
                latency_ms=reply.latency_ms,
                sent_at=sent_at,
                error="the reply states no usage: charged in full" if cost is None else "",
            )
        )
        return Asked(
            completion=completion,
            outcome=outcome,
            call_id=held.call_id,
            cost=settled,
            usage=usage,
            latency_ms=reply.latency_ms,
            sent_at=sent_at,
            request_hash=self._identity,
        )

    def _read_known(self, known: Known) -> Asked:
        completion = self._rung.provider.read(known.body)
        return Asked(
            completion=completion,
            outcome=OUTCOMES.get(completion.finish_reason, "ok"),
            call_id=known.call_id if known.same_query else self._caller._new_id(),
            cost=known.cost if known.same_query else Nano(0),
            usage=known.usage if known.same_query else Usage(),
            latency_ms=known.latency_ms if known.same_query else 0,
            sent_at=self._caller._clock(),
            reused=not known.same_query,
            request_hash=self._identity,
        )

    def _change(self, reply: Reply) -> None:
        changed = simpler(self._request, reply)
        assert changed is not None  # `decide` says change only where something can be left out
        self._request = changed
        self._body = self._rung.provider.encode(changed)
        self._identity = self._caller._identity(self._rung, self._body, self._query_id, self._sample)


def _said_wait(state: RetryCallState) -> float:
    return float(state.outcome.result()[1].wait_s) if state.outcome else 0.0
