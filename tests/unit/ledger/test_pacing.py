"""The arithmetic of shared limits, without a ledger: on a line of milliseconds."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger.pacing import FAILURES, FORGET_MS, HORIZON_US, LEAST_RATE, TOLERATED, draw, rate_of
from pipeline.ports.ledger import Draw, Drawn, Pacing

NOW = 1_700_000_000_000
SECOND = 1_000_000  # µs


@dataclass
class Line:
    row: Pacing = field(default_factory=Pacing)
    now: int = NOW

    def draw(self, **asked: int | str) -> Drawn:
        self.row, drawn = draw(self.row, Draw(**asked), self.now)  # type: ignore[arg-type]
        return drawn

    def times(self, **asked: int) -> list[int]:
        drawn = self.draw(**asked)
        return [drawn.start + number * drawn.step for number in range(drawn.permits)]


@given(
    st.integers(1, 60_000),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), min_size=1, max_size=60),
)
def test_no_window_holds_more_permits_than_the_limit(per_minute: int, draws: list[tuple[int, int]]) -> None:
    line, granted = Line(), []
    cost = 60 * SECOND // per_minute
    for passed, wanted in draws:
        line.now += passed
        granted += line.times(permits=wanted, cost=cost)

    assert granted == sorted(granted)
    assert all(second - first >= cost for first, second in pairwise(granted))
    assert all(at < (line.now + 1000) * 1000 for at in granted)


def test_who_asks_in_time_gets_the_whole_limit() -> None:
    line, granted = Line(), []
    while line.now < NOW + 60_000:
        drawn = line.draw(permits=100, cost=20_000)
        granted += [drawn.start] * drawn.permits
        line.now = max(line.now + 1, drawn.ask_at)

    assert len(granted) == pytest.approx(3000, abs=15)


def test_what_was_not_needed_is_given_back_and_what_was_missing_is_taken() -> None:
    line = Line()
    first = line.draw(permits=2, cost=100_000)
    assert line.row.next_at == first.start + 200_000
    line.draw(back=150_000, cost=100_000)
    assert line.row.next_at == first.start + 50_000
    line.draw(back=-150_000, cost=100_000)
    assert line.row.next_at == first.start + 200_000


def test_a_pause_stops_everybody_limited_or_not() -> None:
    for cost in (0, 1000):
        line = Line()
        line.draw(pause=2_000, cost=cost)
        assert line.draw(permits=5, cost=cost).permits == 0
        assert not line.draw(cost=cost).free
        line.now += 2_000
        assert line.draw(permits=5, cost=cost).permits == 5


def test_without_trouble_nothing_is_limited_and_nothing_changes() -> None:
    line = Line()
    drawn = line.draw(permits=7, answered=100, answered_at=NOW)
    assert (drawn.free, drawn.permits, line.row) == (True, 7, Pacing())


def test_a_clock_that_ran_ahead_stops_nobody_for_long() -> None:
    line = Line()
    line.draw(permits=5, cost=20_000)
    line.draw(failed=FAILURES)
    line.row = Pacing(next_at=(NOW + 86_400_000) * 1000, parked_at=NOW + 86_400_000, failures=FAILURES)
    assert line.draw(permits=5, cost=20_000).permits == 5


# the learned rate


def test_the_first_429_limits_and_few_among_many_do_not() -> None:
    line = Line()
    line.draw(limited=1, limited_at=NOW)
    assert rate_of(line.row) > 0
    first = line.row.rate
    line.now += 10_000
    line.draw(permits=1, answered=10 * TOLERATED)
    line.draw(limited=1, limited_at=line.now)
    assert line.row.rate == first


def test_429s_of_calls_sent_before_a_cut_do_not_cut_again() -> None:
    line = Line(Pacing(rate=6000, ceiling=6000, cut_at=NOW))
    line.draw(limited=10, limited_at=NOW + HORIZON_US // 1000 - 1)
    assert line.row.rate == 6000
    line.draw(limited=1, limited_at=NOW + HORIZON_US // 1000)
    assert line.row.rate < 6000


def test_a_stated_limit_that_is_too_high_is_cut_below() -> None:
    line = Line()
    line.draw(limited=1, limited_at=NOW, cost=10_000)
    assert rate_of(line.row) < 6000
    assert line.draw(permits=1, cost=10_000).step > 10_000


def test_the_rate_never_falls_to_nothing() -> None:
    line = Line()
    for _ in range(100):
        line.now += 1000
        line.draw(limited=10, limited_at=line.now)
    assert line.row.rate >= LEAST_RATE


def test_the_rate_grows_only_while_it_is_used_up() -> None:
    used, idle = (Line(Pacing(rate=600, ceiling=600, cut_at=NOW, drawn_at=NOW)) for _ in range(2))
    for _ in range(300):
        used.now += 100
        used.draw(permits=100)
        idle.now += 100
    for _ in range(15):
        idle.now += 1000
        idle.draw(permits=1)
    assert rate_of(used.row) > 800
    assert rate_of(idle.row) <= 600


def test_without_429s_a_limit_is_forgotten() -> None:
    line = Line(Pacing(rate=600, ceiling=600, cut_at=NOW))
    line.now += FORGET_MS + 1
    assert line.draw(permits=3).free


@pytest.mark.parametrize(("limit", "burst"), [(50, 50), (50, 5), (200, 200)])
def test_four_processes_find_a_limit_that_nobody_stated(limit: int, burst: int) -> None:
    answered, refused = play(limit, burst, seconds=60, settled=15)
    assert answered >= 0.9 * limit * 45
    assert refused <= 0.05 * (answered + refused)


def play(limit: int, burst: int, *, seconds: int, settled: int) -> tuple[int, int]:
    """Four processes that always want more, at a token bucket; what it said once they had settled."""
    dice, line, level, counts = random.Random(7), Line(), float(burst), [0, 0]
    permits: list[list[int]] = [[] for _ in range(4)]
    asks = [NOW + dice.randrange(50) for _ in range(4)]
    seen = [{"answered": 0, "limited": 0, "limited_at": 0} for _ in range(4)]
    seen[0] = {"answered": 0, "limited": 1, "limited_at": NOW}  # the moment it is first told
    for line.now in range(NOW, NOW + seconds * 1000):
        level = min(float(burst), level + limit / 1000)
        for number in range(4):
            sent = [at for at in permits[number] if at <= line.now * 1000]
            permits[number] = permits[number][len(sent) :]
            taken = min(len(sent), int(level))
            level -= taken
            seen[number]["answered"] += taken
            seen[number]["limited"] += len(sent) - taken
            if len(sent) > taken:
                seen[number]["limited_at"], asks[number] = line.now, line.now + dice.randrange(40)
            if line.now >= NOW + settled * 1000:
                counts[0] += taken
                counts[1] += len(sent) - taken
            if line.now >= asks[number]:
                drawn = line.draw(permits=64 - len(permits[number]), **seen[number])
                seen[number] = {"answered": 0, "limited": 0, "limited_at": 0}
                permits[number] += [drawn.start + each * drawn.step for each in range(drawn.permits)]
                asks[number] = max(line.now, drawn.ask_at) + dice.randrange(40)
    return counts[0], counts[1]


# the breaker


def fail(line: Line, times: int) -> Drawn:
    return line.draw(failed=times, problem="HTTP 500")


def test_failures_in_a_row_of_all_processes_park_a_tier() -> None:
    line = Line()
    for _ in range(FAILURES - 1):
        assert not fail(line, 1).parked_at
    drawn = fail(line, 1)
    assert (drawn.parked_at, drawn.problem, drawn.permits) == (NOW, "HTTP 500", 0)


def test_an_answer_in_between_starts_the_count_again() -> None:
    line = Line()
    fail(line, FAILURES - 1)
    line.draw(answered=1, answered_at=NOW)
    assert not fail(line, FAILURES - 1).parked_at


def test_one_caller_probes_at_doubling_distances() -> None:
    line = Line()
    fail(line, FAILURES)
    probes = []
    for _ in range(700):
        line.now += 500
        granted = [line.draw(permits=100).permits for _ in range(4)]
        assert sum(granted) <= 1
        if sum(granted):
            probes.append((line.now - NOW) // 1000)
    assert probes == [1, 2, 4, 8, 16, 32, 64, 124, 184, 244, 304]


def test_only_an_answer_to_a_call_sent_since_opens_it_again() -> None:
    line = Line()
    line.now += 5_000
    fail(line, FAILURES)
    assert line.draw(answered=1, answered_at=line.now - 1).parked_at
    line.now += 1_000
    assert not line.draw(answered=1, answered_at=line.now).parked_at
    assert line.draw(permits=3).free


def test_who_wants_to_be_left_alone_for_long_is_parked_until_then() -> None:
    line = Line()
    assert line.draw(limited=1, limited_at=NOW, answered_at=NOW, away=300_000, problem="HTTP 429").parked_at
    line.now += 299_999
    assert line.draw(permits=1).permits == 0
    line.now += 1
    assert line.draw(permits=1).permits == 1
