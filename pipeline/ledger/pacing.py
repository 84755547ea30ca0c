"""How an upstream is shared: the arithmetic behind `Ledger.draw`, pure and the same for every ledger.

One number does for all limits: when the upstream is free again. A call takes it for as long as the limits say
(a generic cell rate algorithm, ITU-T I.371, without a burst), so permits of all processes lie evenly on one line.
"""

from msgspec.structs import replace

from pipeline.ports.ledger import Draw, Drawn, Pacing

HORIZON_US = 250_000  # permits are given out no farther ahead, so that a change is obeyed soon
FARTHEST_US = 600_000_000  # what lies farther ahead was written by a clock that ran wrong
MINUTE_US = 60_000_000
LEAST_RATE = 6  # calls a minute
FIRST_RATE = (
    120  # calls a minute after the first 429: nobody knows how many would be taken, so it soon doubles
)
SETTLE_MS = 2_000  # in which every process hears of it
TOLERATED = 100  # one 429 in so many calls costs nothing and says little
OVERSHOT = 0.6  # of a rate that had doubled each second
KEPT = 0.85  # of the rate, when it turns out too high
STEEPNESS = 0.0003  # s⁻³ of the cubic
SLACK_US = 100_000  # an upstream that was idle for longer is not asked as fast as it may be
FORGET_MS = 600_000  # without a 429
FAILURES = 5  # in a row, of all processes, that park a tier
FIRST_PROBE_MS, LAST_PROBE_MS = 1_000, 60_000
POLL_MS = 1_000  # who waits for a parked tier looks again


def draw(row: Pacing, asked: Draw, now: int) -> tuple[Pacing, Drawn]:
    """The row after a report and a request, and what is granted; `now` is Unix ms."""
    row = _limited(_parked(_sane(row, now), asked, now), asked, now)
    if row.parked_at:
        return _probe(row, asked, now)
    return _permits(row, asked, now)


def rate_of(row: Pacing) -> int:
    """Calls a minute that were learned to be safe by now; 0: none were.

    Doubles each second until a ceiling is known; then CUBIC's curve, in units of the ceiling: quickly back to it,
    slowly past it, quickly on where there is room (RFC 9438, section 4.2; botocore's adaptive retries do the same).
    """
    if not row.rate:
        return 0
    seconds = row.grown_ms / 1000
    if not row.ceiling:
        return int(row.rate * 2 ** min(seconds, 30.0))
    inflection = ((1 - KEPT) / STEEPNESS) ** (1 / 3)
    return max(row.rate, int(row.ceiling * (1 + STEEPNESS * (seconds - inflection) ** 3)))


def _sane(row: Pacing, now: int) -> Pacing:
    if row.next_at > now * 1000 + FARTHEST_US:
        row = replace(row, next_at=0)
    if row.parked_at > now + LAST_PROBE_MS:
        row = replace(row, parked_at=0, failures=0)
    if row.rate and now - row.cut_at > FORGET_MS:
        row = replace(row, rate=0, ceiling=0)
    return row


def _parked(row: Pacing, asked: Draw, now: int) -> Pacing:
    """The breaker: opens after failures in a row, closes with an answer to a call sent since."""
    answered = asked.answered_at >= max(row.parked_at, 1)
    failures = (0 if answered else row.failures) + asked.failed
    if failures == row.failures and not (answered and row.parked_at) and not asked.away:
        return row
    row = replace(row, failures=failures, parked_at=0 if answered else row.parked_at)
    if not row.parked_at and (failures >= FAILURES or asked.away):
        wait = min(asked.away, FORGET_MS) or FIRST_PROBE_MS
        row = replace(row, parked_at=now, probe_at=now + wait, problem=asked.problem)
    return row


def _limited(row: Pacing, asked: Draw, now: int) -> Pacing:
    """429s of calls sent since the last cut took effect lower the rate, unless they are few."""
    if not asked.limited and not row.rate:
        return row
    row = replace(row, limited=row.limited + asked.limited)
    known = row.cut_at + (HORIZON_US // 1000 if row.ceiling else SETTLE_MS)
    if row.rate and asked.limited and asked.limited_at < known:
        return row
    limited = row.limited_since + asked.limited
    answered = row.answered_since + asked.answered
    if not asked.limited or (row.rate and limited * TOLERATED <= answered):
        return replace(row, answered_since=answered, limited_since=limited)
    return _cut(row, asked, now)


def _cut(row: Pacing, asked: Draw, now: int) -> Pacing:
    stated = MINUTE_US // asked.cost if asked.cost else 0
    ceiling = min((rate for rate in (rate_of(row), stated) if rate), default=0)
    if row.rate and not row.ceiling:
        ceiling = int(ceiling * OVERSHOT)
    rate = max(LEAST_RATE, int(ceiling * KEPT)) if ceiling else FIRST_RATE
    since = {"cut_at": now, "grown_ms": 0, "drawn_at": now, "answered_since": 0, "limited_since": 0}
    return replace(row, rate=rate, ceiling=ceiling, **since)


def _probe(row: Pacing, asked: Draw, now: int) -> tuple[Pacing, Drawn]:
    """One caller at a time, at doubling distances from the moment it was parked."""
    due = now >= row.probe_at and asked.permits > 0
    if due:
        wait = min(max(now - row.parked_at, FIRST_PROBE_MS), LAST_PROBE_MS)
        row = replace(row, probe_at=now + wait)
    ask_at = min(row.probe_at, now + POLL_MS)
    drawn = Drawn(
        permits=int(due), start=now * 1000, ask_at=ask_at, parked_at=row.parked_at, problem=row.problem
    )
    return row, drawn


def _permits(row: Pacing, asked: Draw, now: int) -> tuple[Pacing, Drawn]:
    now_us = now * 1000
    row = _grown(row, asked, now)
    rate = rate_of(row)
    each = max(asked.cost, MINUTE_US // rate if rate else 0)
    start = max(row.next_at - asked.back, now_us + asked.pause * 1000)
    if not each:
        free = start <= now_us
        row = row if free else replace(row, next_at=start)
        return row, Drawn(permits=asked.permits * free, start=start, free=free, ask_at=start // 1000)
    room = now_us + HORIZON_US - start
    count = min(asked.permits, room // each + 1) if room > 0 else 0
    following = start + count * each
    if count or asked.back or asked.pause:
        row = replace(row, next_at=following)
    ask_at = (following - HORIZON_US // 2) // 1000
    return row, Drawn(permits=count, start=start, step=each, ask_at=ask_at)


def _grown(row: Pacing, asked: Draw, now: int) -> Pacing:
    """The rate grows only while it is used up: what was never tried says nothing."""
    if not row.rate or not asked.permits:
        return row
    busy = row.next_at > now * 1000 - SLACK_US
    passed = min(max(0, now - row.drawn_at), POLL_MS) if busy else 0
    return replace(row, grown_ms=row.grown_ms + passed, drawn_at=now)
