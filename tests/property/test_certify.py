"""Certificates, over random draws, populations and chains: what holds whatever the numbers are."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from random import Random

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.certify import certify
from pipeline.certify import strata as by_label
from pipeline.certify.bounds import lower_bound, most_missing, p_value, rows_needed, wealth
from pipeline.certify.chain import build_chain, nested_chain
from pipeline.certify.draw import Draw
from pipeline.certify.outcomes import Outcomes, of_tiers
from pipeline.certify.strata import Stratum
from schemas.ids import QueryId, TierName

targets = st.integers(0, 100).map(lambda percent: percent / 100)
deltas = st.sampled_from([0.01, 0.05, 0.1, 0.3])


@st.composite
def draws(given_: st.DrawFn) -> tuple[int, int, int]:
    """Agreeing, drawn, population."""
    population = given_(st.integers(1, 300))
    drawn = given_(st.integers(0, population))
    return given_(st.integers(0, drawn)), drawn, population


@st.composite
def asked(given_: st.DrawFn, most: int = 60) -> Outcomes:
    """Rows on two or three tiers, few different confidences among them, some answers invalid."""
    rows, tiers = given_(st.integers(1, most)), given_(st.integers(2, 3))
    random = np.random.default_rng(given_(st.integers(0, 2**32 - 1)))
    confidence = random.integers(0, 6, (rows, tiers)) / 5
    confidence[random.random((rows, tiers)) < 0.1] = -np.inf
    agrees = random.random((rows, tiers + 1)) < 0.8
    agrees[:, -2:] = True  # the last tier is the reference, whether it is believed or only stands
    names = tuple(TierName(f"tier-{number}") for number in range(tiers))
    return Outcomes(names, confidence, agrees, random.random((rows, tiers)))


@given(st.sets(st.text(max_size=6), max_size=60), st.integers(0, 10), st.integers(0, 30), st.randoms())
def test_a_draw_is_the_same_in_any_order(ids: set[str], pilot: int, audit: int, random: Random) -> None:
    found = []
    for order in (sorted(ids), random.sample(sorted(ids), len(ids))):
        draw: Draw[str] = Draw(b"key", pilot, audit)
        for name in order:
            draw.offer(QueryId(name), name)
        found.append((draw.pilot, draw.audit))
    assert found[0] == found[1]
    drawn = [*found[0][0], *found[0][1]]
    assert len(drawn) == len(set(drawn)) == min(pilot + audit, len(ids))


@given(draws(), targets)
def test_more_agreement_is_stronger_and_a_higher_target_weaker(
    draw: tuple[int, int, int], target: float
) -> None:
    agreeing, drawn, population = draw
    p = p_value(agreeing, drawn, population, target)
    assert 0 <= p <= 1
    if agreeing < drawn:
        assert p_value(agreeing + 1, drawn, population, target) <= p
    assert p_value(agreeing, drawn, population, min(1.0, round(target + 0.01, 2))) >= p


@given(draws(), deltas)
def test_the_lower_bound_and_the_test_say_the_same(draw: tuple[int, int, int], delta: float) -> None:
    agreeing, drawn, population = draw
    rows = round(lower_bound(agreeing, drawn, population, delta) * population)
    assert agreeing <= rows <= population - (drawn - agreeing)
    assert p_value(agreeing, drawn, population, Fraction(rows, population)) <= delta or rows == 0
    if rows < population:
        assert p_value(agreeing, drawn, population, Fraction(rows + 1, population)) > delta


@given(draws(), targets, deltas)
def test_the_line_is_where_the_p_value_crosses_delta(
    draw: tuple[int, int, int], target: float, delta: float
) -> None:
    _, drawn, population = draw
    missing = most_missing(drawn, population, target, delta)
    assert missing < 0 or p_value(drawn - missing, drawn, population, target) <= delta
    assert missing == drawn or p_value(drawn - missing - 1, drawn, population, target) > delta


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 40), targets)
def test_bets_never_go_below_nothing_and_know_what_is_certain(
    agrees: list[bool], unseen: int, target: float
) -> None:
    population = len(agrees) + unseen
    grown = wealth(np.array(agrees), population, target)
    assert (grown >= 0).all()
    if sum(agrees) >= rows_needed(population, target):
        assert np.isinf(grown[-1])


@given(asked())
def test_what_a_nested_chain_leaves_wrong_only_grows(drawn: Outcomes) -> None:
    right = [int(drawn.run(plan.accept)[0].sum()) for plan in nested_chain(drawn)]
    assert right == sorted(right, reverse=True)
    assert right[0] == len(drawn)


@settings(max_examples=50)
@given(asked(), targets)
def test_a_chain_is_made_of_plans_that_can_run_and_is_cheaper_at_each_step(
    drawn: Outcomes, target: float
) -> None:
    chain = build_chain([drawn], target)
    costs = [drawn.run(plan.accept)[1].mean() for plan in chain]
    assert all(after <= before + 1e-12 for before, after in pairwise(costs))
    assert all(plan.accept[-1] == 0.0 and len(plan.accept) == len(plan.tiers) for plan in chain)
    assert len(chain) <= 100


@settings(max_examples=50)
@given(asked(), targets, deltas, st.integers(0, 40))
def test_only_what_passed_is_chosen_and_only_in_order(
    drawn: Outcomes, target: float, delta: float, unseen: int
) -> None:
    population = len(drawn) + unseen
    chain = build_chain([drawn], target)
    tested = certify.test_chain(chain, [drawn], population, target, delta)
    assert [verdict.candidate for verdict in tested.tests] == chain[: len(tested.tests)]
    assert all(verdict.p <= delta for verdict in tested.tests[:-1])
    for verdict in tested.tests:
        agrees, cost = of_tiers([drawn], verdict.candidate.tiers).run(verdict.candidate.accept)
        assert verdict.p == p_value(int(agrees.sum()), len(drawn), population, target)
        assert abs(verdict.cost - cost.mean()) < 1e-12
    passed = [number for number, verdict in enumerate(tested.tests) if verdict.p <= delta]
    assert (tested.chosen in passed) if passed else tested.chosen is None


@st.composite
def labels(given_: st.DrawFn) -> Stratum:
    rows = given_(st.integers(1, 200))
    known = given_(st.integers(0, rows))
    drawn = given_(st.integers(0, rows - known))
    return Stratum(
        label="a", rows=rows, known=known, sure=given_(st.integers(0, known)), drawn=drawn,
        agreeing=given_(st.integers(0, drawn)),
    )  # fmt: skip


@given(labels(), st.integers(1, 99).map(lambda percent: percent / 100), deltas)
def test_a_label_can_be_certified_from_so_many_rows_on_and_no_fewer(
    stratum: Stratum, target: float, delta: float
) -> None:
    fewest = stratum.fewest(target, delta)
    if fewest is None:  # too many of the known rows disagree, whatever the others do
        assert stratum.sure + stratum.rest < rows_needed(stratum.rows, target)
        return
    for drawn, enough in ((fewest, True), (fewest - 1, False)):
        if drawn >= 0:
            best = msgspec.structs.replace(stratum, drawn=drawn, agreeing=drawn)
            assert (best.p_value(target) <= delta) == enough


@given(st.lists(labels(), max_size=6), st.integers(1, 99).map(lambda percent: percent / 100), deltas)
def test_labels_are_certified_together_no_more_easily_than_alone(
    several: list[Stratum], target: float, delta: float
) -> None:
    claims = by_label.test_strata(several, target, delta)
    assert [claim.stratum for claim in claims] == several
    certified = [claim for claim in claims if claim.certified]
    assert all(claim.p <= delta for claim in certified)
    # a census proves what is true, and nothing else
    for claim in claims:
        each = claim.stratum
        if each.drawn == each.rest:
            assert claim.certified == (each.sure + each.agreeing >= rows_needed(each.rows, target))


def _wrong(certify_labels: Callable[[list[Stratum]], list[bool]], runs: int = 1500) -> float:
    """How often any label is certified that misses, where all of twelve miss by a row."""
    random = np.random.default_rng(7)
    labels, rows, known, drawn, target = 12, 400, 100, 120, 0.9
    sure = 95
    good = rows_needed(rows, target) - sure - 1  # among the 300 others
    agreeing = random.hypergeometric(good, rows - known - good, drawn, (runs, labels))
    return sum(
        any(certify_labels([
            Stratum(label=str(at), rows=rows, known=known, sure=sure, drawn=drawn, agreeing=int(count))
            for at, count in enumerate(run)
        ]))
        for run in agreeing
    ) / runs  # fmt: skip


def test_of_many_labels_that_miss_none_is_certified_but_in_delta_of_the_cases() -> None:
    # each alone at delta is wrong far more often, with so many; so the count below can tell
    assert _wrong(lambda each: [stratum.p_value(0.9) <= 0.05 for stratum in each]) > 0.2
    assert _wrong(lambda each: [claim.certified for claim in by_label.test_strata(each, 0.9, 0.05)]) < 0.05
