"""What goes wrong is drawn as told, and the same again."""

from collections import Counter

import pytest

from tests.upstream.chaos import Chaos, ChaosError, Kind
from tests.upstream.limiter import TokenBucket


def test_shares_hold_in_expectation_and_repeat_with_the_seed() -> None:
    shares: dict[Kind, float] = {"hang": 0.1, "server_error": 0.3}
    drawn = [Chaos(seed=5, shares=shares).draw(number) for number in range(10_000)]

    counts = Counter(drawn)

    assert counts["hang"] / 10_000 == pytest.approx(0.1, abs=0.015)
    assert counts["server_error"] / 10_000 == pytest.approx(0.3, abs=0.02)
    assert drawn == [Chaos(seed=5, shares=shares).draw(number) for number in range(10_000)]


def test_a_script_goes_before_the_shares() -> None:
    chaos = Chaos(seed=0, shares={"hang": 1.0})
    chaos.script(["ok", "cut_after"])

    assert [chaos.draw(number) for number in range(3)] == ["ok", "cut_after", "hang"]


@pytest.mark.parametrize(
    "shares", [{"hang": 1.2}, {"hang": -0.1}, {"hang": 0.6, "refusal": 0.6}, {"hnag": 0.1}]
)
def test_impossible_shares_are_refused(shares: dict[Kind, float]) -> None:
    with pytest.raises(ChaosError):
        Chaos(seed=0, shares=shares)


def test_a_bucket_passes_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=2, now=0.0)

    assert [bucket.wait_s(0.0), bucket.wait_s(0.0)] == [0.0, 0.0]
    assert bucket.wait_s(0.0) == pytest.approx(0.1)
    assert bucket.wait_s(0.1) == 0.0
