"""What a further call is worth, what it will cost, and which are chosen."""

import pytest

from pipeline.cascade.combine import combine, standing
from pipeline.cascade.worth import Offer, Tier, chance_of, choose, gain
from schemas.ids import CallId, Nano, QueryId, TierName
from schemas.records import Answer, Query, Step, Vote


def step(value: str | None, confidence: float, *, cost: int = 0, agreement: float | None = None) -> Step:
    votes = () if agreement is None else (Vote(judge="agreement", version=1, score=agreement),)
    return Step(
        tier=TierName("t"),
        call_id=CallId("c"),
        answer=Answer(value=value),
        votes=votes,
        confidence=confidence,
        accepted=False,
        reason="",
        cost=Nano(cost),
    )


def test_a_tier_starts_with_what_the_spec_says_and_goes_by_what_it_saw() -> None:
    tier = Tier(trust=0.7)
    # Given nothing yet: the spec's trust, the whole hold, and everyone may go on
    assert (tier.chance(), tier.expected(600), tier.leaving()) == (0.7, 600, 1.0)
    # When answers came in that were less sure and six times cheaper than held
    for number in range(30):
        tier.note(step("a", 0.3, cost=100), 600, left=number % 3 == 0)
    # Then it is believed less, costs less, and loses a third
    assert tier.chance() == pytest.approx((0.7 * 10 + 0.3 * 30) / 40)
    assert tier.expected(1200) == 200
    assert tier.leaving() == pytest.approx(11 / 31)


def test_a_reused_answer_says_nothing_about_costs() -> None:
    tier = Tier(trust=0.7)
    tier.note(step("a", 0.9), 600, left=False)
    assert (tier.expected(600), tier.answers) == (600, 1)


def test_gain_is_over_the_best_answer_so_far() -> None:
    query = Query(query_id=QueryId("q"), text="")
    chance = chance_of({TierName("t"): Tier(trust=0.8)})(query, TierName("t"), ())
    assert gain(chance, []) == pytest.approx(0.8)
    assert gain(chance, [step("a", 0.5)]) == pytest.approx(0.3)
    assert gain(chance, [step("a", 0.9)]) == pytest.approx(-0.1)
    assert gain(chance, [step(None, 0.9)]) == pytest.approx(0.8)


def test_disagreement_counts_against_the_earlier_answer_too() -> None:
    # Given two tiers that disagree, the second the better one
    votes = (Vote(judge="agreement", version=1, score=0.0),)
    steps = [step("a", 0.6), step("b", combine(votes, 0.65), agreement=0.0)]
    first, second = standing(steps)
    # Then neither stands as it stood alone, and the better tier's answer stands higher
    assert first == pytest.approx(combine(votes, 0.6))
    assert second == pytest.approx(steps[1].confidence)
    assert first < second < 0.6
    # And agreement lifts the earlier one
    agreed = [step("a", 0.6), step("a", combine((), 0.9), agreement=1.0)]
    assert standing(agreed)[0] > 0.6
    assert standing([step("a", 0.6), step(None, 0.0)]) == [0.6, 0.0]


def offer(gain: float, cost: int, hold: int | None = None) -> Offer:
    return Offer(gain=gain, cost=cost, hold=cost if hold is None else hold)


@pytest.mark.parametrize(
    ("offers", "money", "free", "chosen"),
    [
        ([offer(0.1, 10), offer(0.5, 10), offer(0.3, 10)], 20, 10**9, [1, 2]),  # the higher gain
        ([offer(0.5, 100), offer(0.1, 10)], 100, 10**9, [1]),  # per dollar
        ([offer(0.5, 50), offer(0.1, 40), offer(0.1, 60)], 100, 10**9, [0, 1]),
        ([offer(0.9, 200), offer(0.1, 50)], 100, 10**9, [1]),  # what does not fit is passed over
        ([offer(0.2, 10)] * 3, 20, 10**9, [0, 1]),  # in their order
        (
            [offer(-0.5, 30), offer(-0.1, 20), offer(0.1, 30)],
            50,
            10**9,
            [2, 1],
        ),  # no gain: last, but not left out
        ([offer(0.5, 10, hold=60), offer(0.1, 10, hold=50)], 100, 50, [1]),  # no hold above what is free
        ([offer(0.5, 0)], 0, 10**9, [0]),
    ],
)
def test_money_goes_by_gain_per_dollar(offers: list[Offer], money: int, free: int, chosen: list[int]) -> None:
    assert choose(offers, money, free) == chosen
