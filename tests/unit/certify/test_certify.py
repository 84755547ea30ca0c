import numpy as np
import pytest

from pipeline.certify import certify
from pipeline.certify.bounds import most_missing, p_value
from pipeline.certify.chain import build_chain, nested_chain
from pipeline.certify.outcomes import Candidate, Outcomes
from tests.unit.certify.rows import CHEAP, DEAR, ladder_outcomes, rows_of

POPULATION, PILOT, AUDIT = 3000, 200, 600
RUNS = 120
ROWS = ladder_outcomes(POPULATION, seed=2)
ASK_DEAR, ASK_CHEAP = Candidate((DEAR,), (0.0,)), Candidate((CHEAP,), (0.0,))


def cascade(level: float) -> Candidate:
    return Candidate((CHEAP, DEAR), (level, 0.0))


def test_the_cheapest_plan_that_passed_is_chosen() -> None:
    audit = rows_of(ROWS, range(AUDIT))
    chain = [ASK_DEAR, cascade(0.99), cascade(0.97), cascade(0.1)]
    tested = certify.test_chain(chain, audit, POPULATION, 0.9, 0.05)
    assert tested.chosen == 2
    assert [verdict.p <= 0.05 for verdict in tested.tests] == [True, True, True, False]
    assert tested.tests[0].agreeing == AUDIT
    assert tested.tests[2].cost < tested.tests[1].cost < tested.tests[0].cost * 1.1
    assert tested.bound == certify.BOUND


def test_nothing_is_tested_after_the_first_failure() -> None:
    audit = rows_of(ROWS, range(AUDIT))
    tested = certify.test_chain([ASK_DEAR, ASK_CHEAP, cascade(0.99)], audit, POPULATION, 0.9, 0.05)
    assert [verdict.candidate for verdict in tested.tests] == [ASK_DEAR, ASK_CHEAP]
    assert tested.chosen == 0


def test_nothing_passed_nothing_is_chosen() -> None:
    audit = rows_of(ROWS, range(AUDIT))
    tested = certify.test_chain([ASK_CHEAP, ASK_DEAR], audit, POPULATION, 0.9, 0.05)
    assert tested.chosen is None
    assert len(tested.tests) == 1
    assert tested.tests[0].share == tested.tests[0].agreeing / AUDIT
    assert certify.test_chain([], audit, POPULATION, 0.9, 0.05).chosen is None


def test_of_those_that_passed_the_cheapest_on_the_audit() -> None:
    audit = rows_of(ROWS, range(AUDIT))
    tested = certify.test_chain([cascade(0.97), cascade(0.99)], audit, POPULATION, 0.9, 0.05)
    assert (len(tested.tests), tested.chosen) == (2, 0)


def test_without_an_audit_only_a_pilot_that_says_it_all_certifies() -> None:
    none = rows_of(ROWS, [])
    assert certify.test_chain([ASK_DEAR], none, POPULATION, 0.9, 0.05).chosen is None
    whole = rows_of(ROWS, range(POPULATION))
    assert certify.test_chain([ASK_DEAR], none, POPULATION, 0.9, 0.05, whole).chosen == 0


def test_rows_of_the_pilot_are_counted_and_not_tested() -> None:
    """What the pilot agreed on is certain, so the rest has to give only what is missing."""
    pilot, audit = rows_of(ROWS, range(200)), rows_of(ROWS, range(200, 260))
    plan = cascade(0.9)
    agreeing = [int(part[1].run(plan.accept)[0].sum()) for part in (pilot, audit)]
    found = certify.test_chain([plan], audit, 300, 0.9, 0.05, pilot).tests[0]
    needed = 270 - agreeing[0]
    assert found.p == pytest.approx(p_value(agreeing[1], 60, 100, needed / 100))


def test_drawn_whole_it_knows() -> None:
    audit = rows_of(ROWS, range(POPULATION))
    share = audit[4].agrees[:, 0].mean()
    assert (
        certify.test_chain([ASK_CHEAP], audit, POPULATION, float(np.floor(share * 100) / 100), 0.05).chosen
        == 0
    )
    assert (
        certify.test_chain([ASK_CHEAP], audit, POPULATION, float(np.ceil(share * 100) / 100), 0.05).chosen
        is None
    )


def test_more_rows_than_there_are_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="600 rows"):
        certify.test_chain([ASK_DEAR], rows_of(ROWS, range(600)), 500, 0.9, 0.05)


def missed(target: float, delta: float, runs: int, nested: bool) -> tuple[float, float]:
    """Shares of runs that certified a plan, and one below the target."""
    random = np.random.default_rng(5)
    certified = below = 0
    for _ in range(runs):
        rows = random.permutation(POPULATION)[: PILOT + AUDIT]
        pilot, audit = rows_of(ROWS, rows[:PILOT]), rows_of(ROWS, rows[PILOT:])
        chain = nested_chain(audit[1]) if nested else build_chain(pilot, target)
        tested = certify.test_chain(chain, audit, POPULATION, target, delta, () if nested else pilot)
        if tested.chosen is None:
            continue
        certified += 1
        plan = tested.tests[tested.chosen].candidate
        below += _share(plan, ROWS) < target
    return certified / runs, below / runs


def _share(plan: Candidate, outcomes: list[Outcomes]) -> float:
    return float(next(each for each in outcomes if each.tiers == plan.tiers).run(plan.accept)[0].mean())


@pytest.mark.parametrize("target", [0.85, 0.95])
def test_a_certificate_misses_no_more_often_than_it_says(target: float) -> None:
    certified, below = missed(target, 0.1, RUNS, nested=False)
    assert certified > 0.95
    assert below <= 0.1 + 3 * (0.1 * 0.9 / RUNS) ** 0.5


def test_thresholds_of_the_audit_rows_themselves_miss_no_more_often_either() -> None:
    certified, below = missed(0.9, 0.1, RUNS, nested=True)
    assert certified == 1.0
    assert 0.03 < below <= 0.1 + 3 * (0.1 * 0.9 / RUNS) ** 0.5


def test_the_allowed_number_missing_is_the_line() -> None:
    audit = rows_of(ROWS, range(AUDIT))
    line = most_missing(AUDIT, POPULATION, 0.9, 0.05)
    tested = certify.test_chain(nested_chain(audit[1]), audit, POPULATION, 0.9, 0.05)
    assert [AUDIT - verdict.agreeing <= line for verdict in tested.tests] == [
        verdict.p <= 0.05 for verdict in tested.tests
    ]
