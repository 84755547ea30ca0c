"""What a version expects of a job's tiers."""

from decimal import Decimal

import numpy as np
import pytest

from pipeline.router.outlook import HARDER, KNOWN, Ladder, Outlook, outlook_of
from pipeline.router.statistics import SPENT, Graded, Statistics, added, empty
from schemas.ids import TierName
from schemas.money import Price, price_of

A, B, C = TierName("a"), TierName("b"), TierName("c")
TRUST = {A: 0.6, B: 0.9}
ONE_USD = price_of(input=Decimal(1), output=Decimal(3))  # per million tokens


def seen(calls: int = 4000) -> Statistics:
    """a is asked first; b is asked first as well, or after a has left the query, and is then right less often."""
    random = np.random.default_rng(1)
    tier = random.integers(0, 2, calls)
    after = (tier == 1) & (random.random(calls) < 0.5)
    correct = random.random(calls) < np.where(tier == 0, 0.5, np.where(after, 0.6, 0.9))
    length = random.random(calls)
    spent = np.zeros((calls, len(SPENT)))
    spent[:, SPENT.index("input")] = 200 + 1000 * length
    spent[:, SPENT.index("output")] = np.where(tier == 0, 10, 100)
    spent[:, SPENT.index("cost_usd")] = 0.5
    spent[:, SPENT.index("latency_ms")] = 30 + 20 * length
    graded = Graded(
        features=np.stack([np.ones(calls), length], axis=1).astype(np.float32),
        category=random.integers(0, 2, calls),
        key=random.integers(0, 2**62, calls).astype(np.uint64),
        query=np.arange(calls),
        tier=tier,
        left=np.stack([after, np.zeros(calls, dtype=bool)], axis=1),
        correct=correct.astype(float),
        weight=np.ones(calls),
        confidence=np.where(correct, 0.85, 0.45),
        spent=spent,
    )
    return added(empty(TRUST, ("", "x", "y"), "f", 2), graded)


def outlook(*tiers: TierName, accept: float = 0.8, prices: dict[TierName, Price] | None = None) -> Outlook:
    trust = {tier: TRUST.get(tier, 0.75) for tier in tiers}
    return outlook_of(
        seen(), Ladder(tiers=tiers, accept=np.full(len(tiers), accept), trust=trust, prices=prices or {})
    )


ROWS = np.array([[1, 0.0], [1, 1.0]], dtype=np.float32)


def test_each_tier_keeps_its_own_in_any_order_of_the_ladder() -> None:
    forward, backward = outlook(A, B), outlook(B, A)
    np.testing.assert_allclose(forward.learned.mean(ROWS), backward.learned.mean(ROWS)[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(forward.learned.mean(ROWS)[:, 0], 0.5, atol=0.05)
    np.testing.assert_allclose(forward.learned.mean(ROWS)[:, 1], 0.9, atol=0.05)
    np.testing.assert_allclose(forward.suited.mean(np.array([0, 1])), [[0.5, 0.9]] * 2, atol=0.05)
    assert forward.known.tolist() == [True, True, False]
    assert seen(calls=int(KNOWN)).suited[..., 0].sum() < 2 * KNOWN


def test_a_query_that_a_tier_has_left_is_harder_by_what_was_seen() -> None:
    assert outlook(A, B).harder[0, 1] == pytest.approx(-0.3, abs=0.06)
    assert outlook(B, A).harder[1, 0] == pytest.approx(-0.3, abs=0.06)
    assert outlook(A, B).harder[1, 0] == pytest.approx(HARDER)


def test_judges_let_pass_what_reaches_the_tier_s_threshold() -> None:
    # Given right answers with a confidence of .85 and wrong ones of .45
    for accept, wrong, right in ((0.8, 0.0, 1.0), (0.85, 0.0, 1.0), (0.9, 0.0, 0.0), (0.4, 1.0, 1.0)):
        np.testing.assert_allclose(outlook(A, B, accept=accept).passing, [[wrong, right]] * 2, atol=0.01)


def test_a_tier_s_own_word_is_taken_as_rewards_have_shown_it() -> None:
    # Given a tier that always says .6 and is right nine times in ten, and one of which nothing was seen
    stats = empty(TRUST, ("",), "f", 2)
    stats.judged[0, 60] = 500, 450
    terms = Ladder(tiers=(A, B), accept=np.full(2, 0.8), trust=TRUST, prices={})
    (shift, scale), unseen = outlook_of(stats, terms).voices.tolist()
    # Then .6 of the one means .9, and the other's word stands
    assert 1 / (1 + np.exp(-shift - scale * np.log(0.6 / 0.4))) == pytest.approx(0.9, abs=0.01)
    assert unseen == pytest.approx([0.0, 1.0])


def test_cost_is_tokens_at_today_s_price() -> None:
    cost = outlook(A, B, prices={A: ONE_USD, B: ONE_USD}).cost(ROWS)
    np.testing.assert_allclose(cost * 1e6, [[230, 500], [1230, 1500]], rtol=0.02)
    dearer = {A: ONE_USD, B: price_of(input=Decimal(2), output=Decimal(6), request=Decimal("0.001"))}
    np.testing.assert_allclose(
        outlook(A, B, prices=dearer).cost(ROWS) * 1e6, [[230, 2000], [1230, 4000]], rtol=0.02
    )


def test_a_tier_without_a_price_costs_what_it_stated() -> None:
    np.testing.assert_allclose(outlook(A, B).cost(ROWS), 0.5, rtol=0.01)


def test_latency_goes_with_length() -> None:
    found = outlook(A, B)
    np.testing.assert_allclose(ROWS @ found.latency_ms.T, [[30, 30], [50, 50]], rtol=0.02)


def test_a_new_tier_has_its_trust_and_the_tokens_of_the_others() -> None:
    found = outlook(A, C, prices={A: ONE_USD, C: ONE_USD})
    np.testing.assert_allclose(found.learned.mean(ROWS)[:, 1], 0.75, atol=1e-6)
    assert found.learned.deviation(ROWS)[0, 1] > 3 * found.learned.deviation(ROWS)[0, 0]
    np.testing.assert_allclose(found.cost(ROWS)[:, 1] * 1e6, [365, 1365], rtol=0.1)


def test_a_category_without_answers_is_what_the_learned_model_makes_of_it() -> None:
    found = outlook(A, B)
    np.testing.assert_allclose(found.suited.mean(np.array([2])), found.learned.mean(ROWS[:1]), atol=0.05)
    assert (found.suited.deviation(np.array([2])) > found.suited.deviation(np.array([0]))).all()
