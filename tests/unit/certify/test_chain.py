from itertools import pairwise

import numpy as np
import pytest

from pipeline.certify.chain import NEVER, build_chain, nested_chain
from pipeline.certify.outcomes import Candidate, Outcomes, of_tiers
from tests.unit.certify.rows import CHEAP, DEAR, ladder_outcomes, rows_of

PILOT = ladder_outcomes(200, seed=1)


def mean(plan: Candidate, outcomes: list[Outcomes]) -> tuple[float, float]:
    agrees, cost = of_tiers(outcomes, plan.tiers).run(plan.accept)
    return float(agrees.mean()), float(cost.mean())


def test_it_starts_sure_and_gets_cheaper_at_each_step() -> None:
    chain = build_chain(PILOT, 0.9)
    found = [mean(plan, PILOT) for plan in chain]
    assert found[0][0] == 1.0
    costs = [cost for _, cost in found]
    assert costs == sorted(costs, reverse=True)
    assert [share for share, _ in found] == sorted((share for share, _ in found), reverse=True)
    assert 20 < len(chain) <= 100
    assert len(set(chain)) == len(chain)


def test_it_uses_every_tier_where_that_pays() -> None:
    assert {len(plan.tiers) for plan in build_chain(PILOT, 0.8)} == {1, 2, 3}


def test_plans_that_clearly_fail_on_the_pilot_get_no_place() -> None:
    assert min(mean(plan, PILOT)[0] for plan in build_chain(PILOT, 0.95)) > 0.91
    assert min(mean(plan, PILOT)[0] for plan in build_chain(PILOT, 0.5)) < 0.8


def test_of_plans_that_agree_alike_the_dearer_come_first() -> None:
    """Rows on which all agree say nothing against the cheap tier alone, and little for it."""
    alike = [Outcomes(each.tiers, each.confidence, np.ones_like(each.agrees), each.cost) for each in PILOT]
    chain = build_chain(alike, 0.9)
    assert chain[-1] == Candidate((CHEAP,), (0.0,))
    assert mean(chain[0], alike)[1] > 0.9 * max(each.cost.sum(axis=1).mean() for each in alike)


def test_the_surest_is_there_even_if_it_misses_the_target() -> None:
    cheap = [of_tiers(PILOT, (CHEAP,))]
    assert build_chain(cheap, 0.99) == [Candidate((CHEAP,), (0.0,))]


def test_the_same_pilot_makes_the_same_chain() -> None:
    assert build_chain(PILOT, 0.9) == build_chain(ladder_outcomes(200, seed=1), 0.9)


def test_a_long_chain_is_thinned_evenly() -> None:
    short, long = build_chain(PILOT, 0.8, longest=7), build_chain(PILOT, 0.8)
    assert len(short) == 7
    assert (short[0], short[-1]) == (long[0], long[-1])
    assert build_chain(PILOT, 0.8, longest=1) == long[:1]


def test_no_pilot_no_chain() -> None:
    for none in ([], rows_of(PILOT, [])):
        with pytest.raises(ValueError, match="pilot rows"):
            build_chain(none, 0.9)


def test_answers_that_can_never_be_accepted_give_no_threshold() -> None:
    invalid = Outcomes(
        tiers=(CHEAP, DEAR),
        confidence=np.column_stack([np.full(5, -np.inf), np.ones(5)]),
        agrees=np.tile([False, True, False], (5, 1)),
        cost=np.ones((5, 2)),
    )
    assert build_chain([invalid], 0.9) == [Candidate((CHEAP, DEAR), (NEVER, 0.0))]


def test_a_nested_chain_lets_more_through_at_each_step() -> None:
    drawn = of_tiers(PILOT, (CHEAP, DEAR))
    chain = nested_chain(drawn)
    stopped = [drawn.stops(plan.accept) == 0 for plan in chain]
    assert not stopped[0].any()
    assert stopped[-1].all()
    assert len(chain) == 1 + len(np.unique(drawn.confidence[:, 0]))
    for before, after in pairwise(stopped):
        assert (before <= after).all()


def test_a_nested_chain_asks_the_first_tiers_for_their_vote_only() -> None:
    chain = nested_chain(PILOT[3])
    assert {plan.accept[0] for plan in chain} == {NEVER}
    with pytest.raises(ValueError, match="no threshold"):
        nested_chain(PILOT[0])
