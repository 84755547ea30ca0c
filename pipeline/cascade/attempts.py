"""The attempts of one call: hold, send, journal and settle, then read; again where that may help."""

import logging

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from pipeline.cascade.holder import Holder, Yielded
from pipeline.cascade.pace import PROBE
from pipeline.cascade.retry import Decision, decide, simpler
from pipeline.cascade.rung import Asked, Rung, outcome_of
from pipeline.monitoring.logs import ONCE
from pipeline.ports.ledger import Denied, Held, Intent, Known, Settlement
from pipeline.ports.provider import Provider
from schemas.errors import LeaseLost
from schemas.ids import Nano, QueryId
from schemas.money import Usage
from schemas.records import Purpose, Reply, Request

log = logging.getLogger("tierwise.calls")


class Attempts:
    """The attempts of one call, each with a hold of its own."""

    def __init__(
        self,
        holder: Holder,
        rung: Rung,
        request: Request,
        body: bytes,
        identity: bytes,
        query_id: QueryId,
        purpose: Purpose,
        sample: int,
    ) -> None:
        self._holder, self._rung, self._request, self._body = holder, rung, request, body
        self._identity, self._query_id, self._purpose, self._sample = identity, query_id, purpose, sample
        self._next = 0  # number of the next attempt

    async def __call__(self) -> tuple[Asked, Decision]:
        holder, pace = self._holder, self._rung.pace
        if pace.begin():
            turn = 0
        elif not pace.calm and await self._is_known():
            return await self._once(0)
        else:
            turn = await pace.turn(holder.until, self._tokens(), holder.lease.generation)
        try:
            if holder.time_is_up:
                raise Yielded
            return await self._once(turn)
        finally:
            pace.end()

    async def _is_known(self) -> bool:
        """What an earlier holder of the batch was answered needs no turn: nothing is sent."""
        holder, lease = self._holder, self._holder.lease
        if self._next or (lease.fence == 1 and lease.generation == 1):
            return False
        return bool(await holder.ledger.answered(lease.job, [self._identity]))

    def _tokens(self) -> int:
        """An estimate for the limit: four bytes a token, and all the output that is allowed."""
        return len(self._body) // 4 + self._request.max_output_tokens

    async def persist(self, first: Decision) -> tuple[Asked, Decision]:
        """Further attempts, run by tenacity; no slot and no hold is kept while it waits."""
        await self._holder.rest(first.wait_s)
        retrying = AsyncRetrying(
            sleep=self._holder.rest,
            stop=stop_after_attempt(self._rung.retries),
            wait=_said_wait,
            retry=retry_if_result(lambda result: result[1].kind in ("retry", "change")),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        result: tuple[Asked, Decision] = await retrying(self)
        return result

    async def _once(self, turn: int) -> tuple[Asked, Decision]:
        holder, provider = self._holder, self._rung.provider
        granted = await holder.ledger.hold(self._intent(provider))
        if isinstance(granted, Denied):
            if granted.reason == "fenced":
                raise LeaseLost(name=f"batch {holder.lease.batch} of {holder.lease.job}")
            return Asked(completion=None, denied=granted, problem=granted.reason), Decision(kind="escalate")
        if isinstance(granted, Known):
            return self._read_known(granted), Decision(kind="read")
        return await self._send(granted, turn)

    def _intent(self, provider: Provider) -> Intent:
        holder = self._holder
        return Intent(
            call_id=holder.new_id(),
            lease=holder.lease,
            account=holder.account,
            query_id=self._query_id,
            tier=self._rung.name,
            model=provider.model,
            request_hash=self._identity,
            amount=provider.bound(self._request),
            attempt=self._next,
            purpose=self._purpose,
            sample=self._sample,
        )

    async def _send(self, held: Held, turn: int) -> tuple[Asked, Decision]:
        holder, rung, pace = self._holder, self._rung, self._rung.pace
        self._next = held.attempt + 1
        async with pace.wire:
            if pace.down and turn != PROBE:
                return await self._turn_back(held)
            sent_at = holder.clock()
            if sent_at >= holder.lease_until:  # paused for so long that another may have asked, and paid
                await self._unsent(held, "never sent: its lease had run out")
                raise Yielded
            reply = await rung.provider.send(self._body, held.call_id)
        decision = decide(reply, self._request, held.attempt, holder.random)
        if decision.kind == "read":
            pace.answered(sent_at)
            asked = await self._settle_read(held, reply, sent_at)
            if pace.counts_tokens and asked.usage.input:
                pace.spent(turn, asked.usage)
            return asked, decision
        pace.failed(decision.outcome, reply, sent_at)
        amount = Nano(self._held_amount()) if decision.outcome == "presumed" else Nano(0)
        await holder.ledger.settle(
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

    async def _turn_back(self, held: Held) -> tuple[Asked, Decision]:
        """The tier went down between hold and send: nothing is risked on it."""
        why = "never sent: the tier is down"
        await self._unsent(held, why)
        asked = Asked(completion=None, outcome="unreachable", call_id=held.call_id, problem=why)
        return asked, Decision(kind="retry", outcome="unreachable")

    async def _unsent(self, held: Held, why: str) -> None:
        settlement = Settlement(call_id=held.call_id, outcome="unreachable", cost=Nano(0), error=why)
        await self._holder.ledger.settle(settlement)

    def _held_amount(self) -> int:
        return self._rung.provider.bound(self._request)

    async def _settle_read(self, held: Held, reply: Reply, sent_at: int) -> Asked:
        """Journal and settle before anything is made of the reply."""
        provider = self._rung.provider
        completion = provider.read(reply.body)
        cost = completion.cost if completion.cost is not None else provider.cost(completion)
        outcome = outcome_of(completion)
        usage = completion.usage or Usage()
        settled = Nano(self._held_amount()) if cost is None else cost
        within = await self._holder.ledger.settle(
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
        if not within:
            log.error(
                "over_hold: tier %s billed over a proven bound; the job halts", self._rung.name, extra=ONCE
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
            outcome=outcome_of(completion),
            call_id=known.call_id if known.same_query else self._holder.new_id(),
            cost=known.cost if known.same_query else Nano(0),
            usage=known.usage if known.same_query else Usage(),
            latency_ms=known.latency_ms if known.same_query else 0,
            sent_at=self._holder.clock(),
            reused_from=None if known.same_query else known.call_id,
            request_hash=self._identity,
        )

    def _change(self, reply: Reply) -> None:
        changed = simpler(self._request, reply)
        assert changed is not None  # `decide` says change only where something can be left out
        self._request = changed
        self._body = self._rung.provider.encode(changed)
        self._identity = self._holder.identity(self._rung, self._body, self._query_id, self._sample)


def _said_wait(state: RetryCallState) -> float:
    return float(state.outcome.result()[1].wait_s) if state.outcome else 0.0
