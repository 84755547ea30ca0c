"""P(correct) from votes: a probability, and never lower for more support."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cascade.combine import combine
from schemas.records import Vote

shares = st.floats(0, 1)
maybe = st.none() | shares


def votes(confidence: float | None, agreement: float | None, valid: float = 1.0) -> list[Vote]:
    scores = {"valid": valid, "confidence": confidence, "agreement": agreement}
    return [Vote(judge=judge, version=1, score=score) for judge, score in scores.items()]


@given(maybe, maybe, shares)
def test_it_is_a_probability(confidence: float | None, agreement: float | None, trust: float) -> None:
    assert 0 <= combine(votes(confidence, agreement), trust) <= 1


@given(shares, shares, maybe, shares)
def test_more_confidence_is_never_less(
    one: float, other: float, agreement: float | None, trust: float
) -> None:
    low, high = sorted((one, other))

    assert combine(votes(low, agreement), trust) <= combine(votes(high, agreement), trust)


@given(maybe, shares, shares, shares)
def test_more_agreement_is_never_less(
    confidence: float | None, one: float, other: float, trust: float
) -> None:
    low, high = sorted((one, other))

    assert combine(votes(confidence, low), trust) <= combine(votes(confidence, high), trust)


def test_trust_stands_in_for_confidence_and_nothing_makes_up_for_an_invalid_answer() -> None:
    assert combine(votes(None, None), 0.7) == pytest.approx(0.7)
    assert combine([], 0.7) == pytest.approx(0.7)
    assert combine(votes(0.9, None), 0.1) == pytest.approx(0.9)
    assert combine(votes(0.9, 1.0, valid=0.0), 0.9) == 0.0
    assert combine(votes(0.5, 0.5), 0.1) == pytest.approx(0.5)
