"""When a tier may be asked: how many calls at once, its share of the limits, and whether it is up at all.

What a process sees of an upstream it tells the ledger, where the permits of all processes are drawn. While nothing
is limited and nothing fails, a call costs a few comparisons here and no word to the ledger.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from itertools import islice

import msgspec

from pipeline.cascade.limits import Allowed, Parked, Report
from pipeline.cascade.retry import LONGEST_ASKED_S
from pipeline.cascade.wire import Wire
from pipeline.ports.ledger import Draw, Drawn, Ledger
from schemas.ids import TierName
from schemas.money import Usage
from schemas.records import Outcome, Reply

log = logging.getLogger("tierwise.pace")

FIRST = 4  # calls at once before the tier has answered: what a tier that is down may cost a process
INCREASE, DECREASE = 2.0, 0.9  # of the calls at once, by an answer and by a failure
FAILURES = 5  # in a row, of this process, after which nothing is sent until the ledger was asked
REFUSALS = (401, 403, 404)  # of the key or the model, not of one request: nobody else's would be taken either
BARRED_MS = 60_000  # for which a tier that refuses everybody is left alone
FRESH_MS = 1_000  # after which a busy process hears what others met
QUIET_MS = 60_000  # between two lines of the log about 429s
LAPSE_US = 1_000_000  # a permit that is not used by then lapses
PROBE = -1  # a turn to see whether the tier is up again

Until = Callable[[asyncio.Future[int]], Awaitable[int]]


class Pace:
    """One tier in one process, on one event loop."""

    look_ms = 1_000  # a queue looks at least so often, since clocks jump

    def __init__(self, tier: TierName, allowed: Allowed, ledger: Ledger, clock: Callable[[], int]) -> None:
        self._tier, self.allowed, self._ledger, self._clock = tier, allowed, ledger, clock
        self.skips = allowed.skips
        self.counts_tokens = allowed.tokens is not None
        self.down = False
        self.wire = Wire(0)
        self._begun = 0
        self._queue: deque[tuple[asyncio.Future[int], int]] = deque()  # with what each costs, µs
        self._permits: deque[int] = deque()  # Unix µs from which each may be used
        self._stated = bool(allowed.requests or allowed.tokens)
        self.calm = False  # nothing is limited and nothing failed: turns need no permit
        self._ask_at = self._fresh_until = 0
        self._seen = Report()
        self._heard: Counter[str] = Counter()  # replies by kind, but for those that are not reported yet
        self._news = False  # something the ledger should hear at once
        self._streak = 0  # failures in a row
        self._refused = 0  # refusals in a row
        self._say_limit_at = 0
        self._barred_until = 0
        self._parked_at = self._up_at = 0
        self._problem = ""
        self._generation = self._since = 0
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._doubt()

    @property
    def window(self) -> int:
        """Calls at once that it allows by now."""
        return int(self._window)

    # turns

    def begin(self) -> bool:
        """A turn at once, where nothing stands against it."""
        if self.calm and self._begun < self._room and not self._queue:
            self._begun += 1
            return True
        return False

    async def turn(self, until: Until, tokens: int, generation: int = 1) -> int:
        """Wait for a turn: PROBE, or its cost. `until` awaits for as long as the caller may. Raises Parked."""
        now = self._clock()
        if generation != self._generation:  # whoever resumes a job has reason to hope
            self._generation, self._since = generation, now
        if self._barred(now) or (self._out_of_patience(now) and now < self._ask_at):
            raise Parked(self._problem)
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, self.allowed.cost(tokens)))
        self._go_on()
        try:
            return await until(turn)
        except BaseException:
            if not turn.done():
                turn.cancel()  # nobody waits for it any more: it must not be handed out
            elif not turn.cancelled() and turn.exception() is None:
                self.end()
            raise

    def end(self) -> None:
        self._begun -= 1
        if self._queue:
            self._go_on()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    # what others see of it

    @property
    def queued(self) -> int:
        return len(self._queue)

    def replies(self) -> dict[str, int]:
        """How many this process got so far, by kind. Counted as reports are made: a call is not counted by itself."""
        return self._heard + Counter(answered=self._seen.answered, rate_limited=self._seen.limited)

    # what became of a call

    def answered(self, sent_at: int) -> None:
        """A complete reply, whatever it says."""
        self._streak = self._refused = 0
        self._seen.answered += 1
        self._seen.alive(sent_at)
        if self._window < self.allowed.most or not self._proven:
            self._widen()
        if sent_at >= self._fresh_until or self.down:
            self._fresh_until, self._barred_until = sent_at + FRESH_MS, 0
            self._tell()

    def spent(self, turn: int, usage: Usage) -> None:
        """Give back what a call was given for tokens that it did not need."""
        used = usage.input + usage.cached_input + usage.cache_write + usage.output + usage.reasoning
        if turn != PROBE:
            back = turn - self.allowed.cost(used)
            self._seen.back += back
            self._ask_at -= max(0, back // 1000)

    def failed(self, outcome: Outcome, reply: Reply, sent_at: int) -> None:
        """A 429 speaks of the rate, no answer of the tier, a 401 of the job; other refusals of one request."""
        if outcome == "rate_limited":
            self._hear_limit(reply, sent_at)
        elif outcome == "rejected":
            self._hear_refusal(reply.status, sent_at)
        elif sent_at >= self._up_at:
            self._hear_failure(reply)

    def _hear_limit(self, reply: Reply, sent_at: int) -> None:
        seen, wait_s = self._seen, reply.retry_after_s or 0.0
        self._streak = 0
        seen.alive(sent_at)
        seen.limited += 1
        seen.limited_at = max(seen.limited_at, sent_at)
        seen.wait(wait_s)
        if sent_at >= self._say_limit_at:
            self._say_limit_at = sent_at + QUIET_MS
            log.warning("tier %s answers 429: it is asked more slowly", self._tier)
        if wait_s > LONGEST_ASKED_S:
            self._shut(f"HTTP 429, not to be asked for {wait_s:.0f} s")
        self.calm = False
        self._tell()

    def _hear_failure(self, reply: Reply) -> None:
        seen = self._seen
        self._heard["failed"] += 1
        self._streak += 1
        seen.failed += 1
        seen.problem = f"HTTP {reply.status}" if reply.status else reply.error.partition(":")[0][:60]
        seen.wait(reply.retry_after_s or 0.0)
        self._resize(max(1.0, self._window * DECREASE))
        if self._streak >= FAILURES:
            self._shut(seen.problem)
        self.calm = False
        self._tell()

    def _hear_refusal(self, status: int, sent_at: int) -> None:
        self._streak = 0
        self._heard["rejected"] += 1
        self._seen.alive(sent_at)
        if status in REFUSALS:
            self._refused += 1
            if not self._proven or self._refused >= FAILURES:
                self._bar(f"HTTP {status}: its key or its model is refused")
        if self.down:
            self._tell()

    # up, down, barred

    def _shut(self, problem: str) -> None:
        """Nothing more until the ledger was asked."""
        self._seen.problem = self._problem = problem
        self.down, self.calm = True, False
        self._permits.clear()

    def _bar(self, problem: str) -> None:
        """Only here: the key of another job may well be taken."""
        if not self._barred_until:
            log.warning("tier %s is parked: %s", self._tier, problem)
        self._barred_until = self._clock() + BARRED_MS
        self._shut(problem)
        self._dismiss()

    def _barred(self, now: int) -> bool:
        if self._barred_until and now >= self._barred_until:
            self._barred_until = self._refused = 0
            self.down = self._parked_at > 0
            self._doubt()
        return self._barred_until > 0

    def _out_of_patience(self, now: int) -> bool:
        return self._parked_at > 0 and now - max(self._parked_at, self._since) >= self.allowed.patience_ms

    # how many calls at once

    def _doubt(self) -> None:
        """As if it had never answered."""
        self._proven = False
        self._resize(float(min(FIRST, self.allowed.most)))

    def _widen(self) -> None:
        self._proven = True
        most = float(self.allowed.most)
        self._resize(most if self._stated else min(most, self._window + INCREASE))
        if self._queue:
            self._go_on()

    def _resize(self, window: float) -> None:
        """At its widest, more turns than calls on the wire, so that it is not idle while money is held and settled;
        below, no more: they would all go out before the first 429 is back."""
        self._window = window
        self._room = int(window) * (1 + (self._proven and window >= self.allowed.most))
        self.wire.resize(int(window))

    # the way to a turn

    def _go_on(self) -> None:
        """Hand out the turns that are due, then see to the next."""
        now = self._clock()
        while self._queue and (self._queue[0][0].done() or self._may(now)):
            turn, cost = self._queue.popleft()
            if not turn.done():
                self._begun += 1
                turn.set_result(PROBE if self.down else cost)
        if self._queue and not self.calm:
            self._wait(now)

    def _may(self, now: int) -> bool:
        if self._begun >= self._room and not self.down:
            return False
        if self.calm:
            return True
        due = now * 1000
        while self._permits and not -LAPSE_US < self._permits[0] - due < 2 * LAPSE_US:
            self._permits.popleft()
        if self._permits and self._permits[0] <= due:
            self._permits.popleft()
            return True
        return False

    def _wait(self, now: int) -> None:
        """Draw permits, or wake up when that makes sense; with no room, the next call that ends goes on."""
        short = self._short()
        if short and now >= self._ask_at:
            self._tell()
            return
        times = [self._ask_at] if short else []
        if self._permits and (self.down or self._begun < self._room):
            times.append(self._permits[0] // 1000 + 1)
        if times:
            if self._timer is not None:
                self._timer.cancel()
            wait_ms = min(max(1, min(times) - now), self.look_ms)
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._go_on)

    def _short(self) -> int:
        """Permits that could be used and are not there."""
        if self.calm:
            return 0
        turns = 1 if self.down else max(0, self._room - self._begun)
        return max(0, min(len(self._queue), turns) - len(self._permits))

    def _dismiss(self) -> None:
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_exception(Parked(self._problem))

    # the ledger

    def _tell(self) -> None:
        """Report and ask, soon and once for all that comes until then."""
        self._news = True
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._draw())

    async def _draw(self) -> None:
        try:
            while self._news:
                self._news = False
                now = self._clock()
                self._heed(await self._ledger.draw(self.allowed.upstream, self._report(now), now))
        except Exception as error:
            log.warning("the limits of tier %s cannot be shared: %s", self._tier, error)
            self._fail(error)
        finally:
            self._asking = None

    def _report(self, now: int) -> Draw:
        short, have = self._short(), len(self._permits)
        costs = [cost for _, cost in islice(self._queue, have, have + short)]
        self._heard = Counter(self.replies())
        seen, self._seen = self._seen, Report()
        cost = sum(costs) // short if short else self.allowed.cost(0)
        return Draw(permits=short, cost=cost, **msgspec.structs.asdict(seen))

    def _heed(self, drawn: Drawn) -> None:
        now = self._clock()
        before, self._parked_at, self._ask_at = self._parked_at, drawn.parked_at, drawn.ask_at
        if self._barred(now):
            return
        self.down, self.calm = drawn.parked_at > 0, drawn.free and not self._stated
        if self.down and not before:
            log.warning("tier %s is down: %s", self._tier, drawn.problem)
            self._shut(drawn.problem)
            self._doubt()
        elif before and not self.down:
            log.warning("tier %s is up again", self._tier)
            self._up_at, self._streak = now, 0
        if not self.calm:
            self._permits.extend(drawn.start + number * drawn.step for number in range(drawn.permits))
        self._go_on()
        if self._out_of_patience(now):
            self._dismiss()

    def _fail(self, error: Exception) -> None:
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_exception(error)
