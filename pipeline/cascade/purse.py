"""The money of one batch where it may not suffice: who goes on now, who waits, who gets nothing.

While what the open queries will want fits the batch's share, everyone passes. When it does not, queries stop before
their next call; once none can go on otherwise, the calls with the highest gain per dollar are made, as far as the
share goes, and so on. The share is reckoned in expected costs; the cap is kept by the ledger's holds alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.cascade.holder import Holder, Yielded
from pipeline.cascade.walk import Asking, request_of
from pipeline.cascade.worth import Chance, Offer, Seen, Tier, choose, gain
from pipeline.ports.ledger import Denied, Ledger, Share, Want
from schemas.errors import LeaseLost
from schemas.ids import AccountId, Nano, QueryId
from schemas.money import format_usd
from schemas.records import Lease, Plan, Query, Step

LOOKS = 16  # at what is still wanted, in the time that every query of the batch takes a step
ASK_AGAIN_S = (0.1, 2.0)  # first and longest pause while another batch may give something back


def holds_of(asking: Asking, query: Query, plan: Plan, parts: Sequence[str]) -> list[int]:
    """What each tier of the plan would hold for the query; 0 for tiers of this process."""
    rungs = [asking.rungs[name] for name in plan.tiers]
    return [
        0
        if rung.provider.local
        else sum(rung.provider.bound(request_of(asking, rung, query, part)) for part in parts)
        for rung in rungs
    ]


def judging_of(asking: Asking, query: Query, parts: Sequence[str]) -> int:
    """The most that judging one answer could cost. Holds alone keep the cap: this is for who goes first."""
    rungs, document = asking.rungs, "".join(parts)
    asked = [each for judge in asking.judging.paying for each in judge.foresee(query, document)]
    return sum(rungs[tier].provider.bound(request) for tier, request in asked)


@dataclass(slots=True, kw_only=True)
class _Seat:
    """One query on its way."""

    query: Query
    plan: Plan
    parts: list[str]
    steps: list[Step]  # the walk's own, as it grows
    holds: list[int]  # nano-dollars by position in the plan; 0: nothing is held
    judging: int  # nano-dollars at most for judging one answer
    position: int = 0
    judged: int = 0  # steps taken into account
    bought: bool = False  # its call is under way, at a cost
    trial: Tier | None = None  # what its call is to tell the cost of
    waiting: "asyncio.Future[Denied | None] | None" = None
    hashes: list[bytes] = field(default_factory=list)  # of the calls it waits to make


class Purse:
    """Awaited before each call of a query; told when a query has ended."""

    def __init__(
        self,
        asking: Asking,
        holder: Holder,
        ledger: Ledger,
        lease: Lease,
        account: AccountId,
        *,
        seen: Seen,
        chance: Chance,
        share: Share,
        queries: int,
        rows: int,
        clock: Callable[[], int],
    ) -> None:
        """`queries`: how many will come or `leave` without; `rows`: queries of a batch that has not asked yet."""
        self._asking, self._holder, self._ledger, self._lease, self._account = (
            asking, holder, ledger, lease, account
        )  # fmt: skip
        self._seen, self._chance, self._clock = seen, chance, clock
        self._queries, self._rows = queries, rows
        self._money, self._free, self._tightest = int(share.amount), int(share.free), share.tightest
        self._seats: dict[QueryId, _Seat] = {}
        self._moving = queries  # neither waiting nor ended
        self._ample = False
        self._look_in = queries  # events until the next look; the first, once all are here
        self._pause_s = ASK_AGAIN_S[0]
        self._deciding: asyncio.Task[None] | None = None

    async def turn(
        self, query: Query, plan: Plan, position: int, parts: list[str], steps: list[Step]
    ) -> Denied | None:
        """Returns when the call may be made; Denied when there is no money for it. Raises Yielded, LeaseLost."""
        seat = self._seats.get(query.query_id) or self._sit(query, plan, parts, steps)
        self._judge(seat, left=True)
        if seat.plan is not plan:  # it was planned again
            seat.plan, seat.holds = plan, holds_of(self._asking, query, plan, parts)
        seat.position = position
        if not seat.holds[position]:
            return None
        self._look()
        if self._ample:
            seat.bought = True
            return None
        return await self._wait(seat)

    def leave(self, query_id: QueryId) -> None:
        """The query has ended, asked or not."""
        seat = self._seats.pop(query_id, None)
        if seat is not None:
            self._judge(seat, left=False)
            self._look()
        self._moving -= 1
        self._consider()

    def close(self) -> None:
        for seat in self._seats.values():
            self._end_trial(seat)
        if self._deciding is not None:
            self._deciding.cancel()

    def _sit(self, query: Query, plan: Plan, parts: list[str], steps: list[Step]) -> _Seat:
        holds = holds_of(self._asking, query, plan, parts)
        judging = judging_of(self._asking, query, parts)
        seat = _Seat(query=query, plan=plan, parts=parts, steps=steps, holds=holds, judging=judging)
        self._seats[query.query_id] = seat
        return seat

    def _judge(self, seat: _Seat, *, left: bool) -> None:
        """Take its last answer into account."""
        new = seat.steps[seat.judged :]
        seat.judged = len(seat.steps)
        for step in new:
            if step.call_id is not None:
                hold = seat.holds[seat.plan.tiers.index(step.tier)]
                self._seen[step.tier].note(step, hold, left=left, foreseen=seat.judging)
                self._money -= step.judging + (step.cost if seat.bought else 0)
        seat.bought = False
        self._end_trial(seat)

    def _end_trial(self, seat: _Seat) -> None:
        if seat.trial is not None:
            seat.trial.trying, seat.trial = False, None

    async def _wait(self, seat: _Seat) -> Denied | None:
        seat.hashes = self._hashes(seat)
        seat.waiting = asyncio.get_running_loop().create_future()
        self._moving -= 1
        self._consider()
        try:
            return await seat.waiting
        except asyncio.CancelledError:
            self._end_wait(seat)
            raise

    def _end_wait(self, seat: _Seat) -> "asyncio.Future[Denied | None] | None":
        future, seat.waiting = seat.waiting, None
        if future is not None:
            self._moving += 1
        return future

    def _let_go(self, seats: Sequence[_Seat], *, bought: bool) -> bool:
        """Whether there were any."""
        for seat in seats:
            future = self._end_wait(seat)
            if future is not None and not future.done():
                seat.bought = bought
                future.set_result(None)
        return bool(seats)

    def _waiting(self) -> list[_Seat]:
        return [seat for seat in self._seats.values() if seat.waiting is not None]

    def _left(self) -> int:
        """Of the batch's money, what is neither spent nor needed for calls under way."""
        under_way = (self._cost(seat) for seat in self._seats.values() if seat.bought)
        return self._money - sum(under_way)

    def _cost(self, seat: _Seat, *, judged: bool = True) -> int:
        tier = self._tier(seat)
        return tier.expected(seat.holds[seat.position]) + (tier.judging(seat.judging) if judged else 0)

    def _wanted(self, *, at_most: bool = False) -> int:
        """What the open queries will come to, less what is under way; `at_most`: if every one asks every tier. Behind
        a tier whose every valid answer stands, hardly anyone is expected."""
        leaving = {name: 1.0 if at_most else tier.leaving() for name, tier in self._seen.items()}
        total = 0.0
        for seat in self._seats.values():
            reached = 1.0
            for position in range(seat.position, len(seat.holds)):
                name = seat.plan.tiers[position]
                if position > seat.position or not seat.bought:
                    tier = self._seen[name]
                    total += reached * (tier.expected(seat.holds[position]) + tier.judging(seat.judging))
                reached *= leaving[name] if at_most or seat.plan.accept[position] else 0.0
        return round(total)

    def _look(self) -> None:
        """Now and then, whether the money suffices; then nobody need wait."""
        self._look_in -= 1
        if self._look_in < 0:
            self._look_in = self._queries // LOOKS
            self._ample = self._wanted() <= self._left()
            if self._ample:
                self._let_go(self._waiting(), bought=True)

    def _consider(self) -> None:
        """Decide once nobody can go on otherwise."""
        if not self._moving and self._deciding is None and self._waiting():
            self._deciding = asyncio.get_running_loop().create_task(self._decide())

    async def _decide(self) -> None:
        try:
            self._let_go(await self._answered(), bought=False)
            while not self._moving and self._waiting():
                await self._round()
        except Exception as error:  # it concerns the whole batch
            for seat in self._waiting():
                future = self._end_wait(seat)
                if future is not None and not future.done():
                    future.set_exception(error)
        finally:
            self._deciding = None

    async def _round(self) -> None:
        if self._holder.time_is_up:
            raise Yielded
        self._look_in = 0
        self._look()
        if self._ample or self._let_go(self._affordable(), bought=True):
            return
        if self._money > 0 and self._let_go(self._trial(), bought=True):
            return
        if any(
            self._tier(seat).trying for seat in self._waiting()
        ):  # another batch's call will tell the cost
            await asyncio.sleep(ASK_AGAIN_S[0])
            return
        share = await self._ask_again(self._waiting())
        if self._let_go(self._affordable(), bought=True):
            return
        if share.later:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 1.5, ASK_AGAIN_S[1])
            return
        if share.amount:
            await self._ask_again([])
        if not self._let_go(self._trial(), bought=True):
            self._refuse(self._waiting())

    async def _answered(self) -> list[_Seat]:
        """Those whose replies are in the journal: they cost nothing, whoever paid for them."""
        waiting = self._waiting()
        asked = sorted({each for seat in waiting for each in seat.hashes})
        known = await self._holder.free(asked)
        return [seat for seat in waiting if seat.waiting is not None and known.issuperset(seat.hashes)]

    def _hashes(self, seat: _Seat) -> list[bytes]:
        rung = self._asking.rungs[seat.plan.tiers[seat.position]]
        bodies = [
            rung.provider.encode(request_of(self._asking, rung, seat.query, part)) for part in seat.parts
        ]
        return [self._holder.identity(rung, body, seat.query.query_id) for body in bodies]

    def _affordable(self) -> list[_Seat]:
        """Where there is money for no call and its judges, one without them is better than none."""
        waiting = self._waiting()
        chosen = choose([self._offer(seat) for seat in waiting], self._left(), self._free)
        if not chosen and self._asking.judging.paying:
            alone = [self._offer(seat, judged=False) for seat in waiting]
            chosen = choose(alone, self._left(), self._free)
        return [waiting[i] for i in chosen]

    def _trial(self) -> list[_Seat]:
        """One call of a tier that was never asked: only its hold is known, often many times what it comes to."""
        for seat in self._waiting():
            tier = self._tier(seat)
            if not tier.held and not tier.tried and seat.holds[seat.position] <= self._free:
                tier.tried = tier.trying = True
                seat.trial = tier
                return [seat]
        return []

    def _tier(self, seat: _Seat) -> Tier:
        return self._seen[seat.plan.tiers[seat.position]]

    def _offer(self, seat: _Seat, *, judged: bool = True) -> Offer:
        chance = self._chance(seat.query, seat.plan.tiers[seat.position], seat.steps)
        return Offer(
            gain=gain(chance, seat.steps),
            cost=self._cost(seat, judged=judged),
            hold=seat.holds[seat.position],
        )

    async def _ask_again(self, waiting: Sequence[_Seat]) -> Share:
        """Give back what is left and ask for a new share; with nobody waiting, for none."""
        want = Want(
            lease=self._lease,
            account=self._account,
            queries=len(waiting),
            most=Nano(self._wanted(at_most=True)),
            least=Nano(min(map(self._cost, waiting), default=0)),
            hold=Nano(min((seat.holds[seat.position] for seat in waiting), default=0)),
            rows=self._rows,
            again=True,
        )
        share = await self._ledger.divide(want, self._clock())
        if share is None:
            raise LeaseLost(name=f"batch {self._lease.batch} of {self._lease.job}")
        self._money, self._free, self._tightest = int(share.amount), int(share.free), share.tightest
        return share

    def _refuse(self, seats: Sequence[_Seat]) -> None:
        for seat in seats:
            denied = Denied("exhausted", self._why_not(seat))
            future = self._end_wait(seat)
            if future is not None and not future.done():
                future.set_result(denied)

    def _why_not(self, seat: _Seat) -> str:
        offer, tier = self._offer(seat), seat.plan.tiers[seat.position]
        left = f"account {self._tightest} has {format_usd(self._free)} left"
        if offer.hold > self._free:
            return f"{left}, tier {tier} needs a hold of {format_usd(offer.hold)}"
        return (
            f"{left}, which goes where it adds more than {offer.gain:+.2f} of P(correct) "
            f"for {format_usd(offer.cost)} at tier {tier}"
        )
