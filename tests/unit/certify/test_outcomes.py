import numpy as np
import pytest

from pipeline.certify.outcomes import Outcomes, of_tiers
from tests.unit.certify.rows import CHEAP, DEAR

INVALID = -np.inf


def outcomes() -> Outcomes:
    """Sure and right; unsure; cheap invalid; both invalid."""
    return Outcomes(
        tiers=(CHEAP, DEAR),
        confidence=np.array([[0.9, 0.3], [0.5, 0.2], [INVALID, 0.1], [INVALID, INVALID]]),
        agrees=np.array(
            [[True, False, False], [False, True, False], [False, True, False], [False, False, True]]
        ),
        cost=np.array([[1.0, 10.0]] * 4),
    )


def test_a_row_ends_where_it_is_first_believed() -> None:
    assert outcomes().stops((0.9, 0.0)).tolist() == [0, 1, 1, 2]


def test_the_last_tier_accepts_whatever_is_valid() -> None:
    assert outcomes().stops((0.95, 0.99)).tolist() == [1, 1, 1, 2]


def test_what_stands_and_what_was_paid() -> None:
    agrees, cost = outcomes().run((0.9, 0.0))
    assert agrees.tolist() == [True, True, True, True]  # the last by what stands when nobody is believed
    assert cost.tolist() == [1.0, 11.0, 11.0, 11.0]


def test_an_invalid_answer_is_not_accepted_at_any_threshold() -> None:
    assert outcomes().stops((-np.inf, 0.0)).tolist() == [0, 0, 1, 2]


def test_many_plans_at_once_do_as_each_alone() -> None:
    plans = [(0.9, 0.0), (0.5, 0.0), (2.0, 0.0)]
    agrees, cost = outcomes().run_all(np.array(plans))
    for number, plan in enumerate(plans):
        assert agrees[number].tolist() == outcomes().run(plan)[0].tolist()
        assert cost[number].tolist() == outcomes().run(plan)[1].tolist()


def test_no_rows_are_no_trouble() -> None:
    none = Outcomes((CHEAP,), np.zeros((0, 1)), np.zeros((0, 2), dtype=bool), np.zeros((0, 1)))
    assert none.run((0.0,))[0].tolist() == []


def test_matrices_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 tiers need \[n, 2\]"):
        Outcomes((CHEAP, DEAR), np.zeros((3, 2)), np.zeros((3, 2), dtype=bool), np.zeros((3, 2)))


def test_outcomes_are_found_by_their_tiers() -> None:
    assert of_tiers([outcomes()], (CHEAP, DEAR)).tiers == (CHEAP, DEAR)
    with pytest.raises(KeyError):
        of_tiers([outcomes()], (DEAR,))
