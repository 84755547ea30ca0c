from itertools import pairwise
from math import comb

import numpy as np
import pytest

from pipeline.certify.bounds import lower_bound, most_missing, p_value, rows_needed, tail, wealth


def counted(agreeing: int, drawn: int, population: int, good: int) -> float:
    """The tail by whole numbers."""
    ways = [
        comb(good, number) * comb(population - good, drawn - number)
        for number in range(agreeing, min(drawn, good) + 1)
        if drawn - number <= population - good
    ]
    return sum(ways) / comb(population, drawn)


@pytest.mark.parametrize(
    ("target", "population", "rows"),
    [(0.95, 1000, 950), (0.95, 1001, 951), (0.07, 100, 7), (0.29, 100, 29), (1.0, 10, 10), (0.0, 10, 0)],
)
def test_the_target_is_read_as_it_is_written(target: float, population: int, rows: int) -> None:
    assert rows_needed(population, target) == rows


def test_the_tail_is_exact() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        population = int(random.integers(1, 200))
        drawn, good = (int(random.integers(0, population + 1)) for _ in range(2))
        agreeing = int(random.integers(0, drawn + 1))
        expected = counted(agreeing, drawn, population, good)
        assert tail(agreeing, drawn, population, good) == pytest.approx(expected, rel=1e-11)


def test_the_p_value_is_scipys() -> None:
    hypergeom = pytest.importorskip("scipy.stats").hypergeom
    for agreeing, drawn, population, target in [
        (590, 600, 3000, 0.97),
        (560, 600, 1_000_000, 0.9),
        (95, 100, 101, 0.9),
    ]:
        null = rows_needed(population, target) - 1
        expected = hypergeom.sf(agreeing - 1, population, null, drawn)
        assert p_value(agreeing, drawn, population, target) == pytest.approx(expected, rel=1e-8)


def test_it_rejects_a_true_hypothesis_no_more_often_than_delta() -> None:
    for population, drawn, target, delta in [
        (3000, 600, 0.95, 0.05),
        (200, 50, 0.9, 0.1),
        (40, 39, 0.8, 0.05),
    ]:
        missing = most_missing(drawn, population, target, delta)
        assert counted(drawn - missing, drawn, population, rows_needed(population, target) - 1) <= delta
        assert p_value(drawn - missing - 1, drawn, population, target) > delta


def test_when_all_rows_are_drawn_there_is_no_doubt() -> None:
    assert p_value(95, 100, 100, 0.95) == 0.0
    assert p_value(94, 100, 100, 0.95) == 1.0
    assert most_missing(100, 100, 0.95, 0.05) == 5
    assert lower_bound(95, 100, 100, 0.05) == 0.95


def test_edges_of_the_target() -> None:
    assert p_value(0, 0, 10, 0.0) == 0.0  # nothing is promised
    assert p_value(0, 0, 10, 0.5) == 1.0  # nothing is known
    assert p_value(9, 9, 10, 1.0) == pytest.approx(0.1)  # the one row left may be the one
    assert most_missing(9, 10, 1.0, 0.05) == -1
    assert most_missing(9, 10, 0.0, 0.05) == 9


def test_the_lower_bound_is_the_smallest_share_not_rejected() -> None:
    low = lower_bound(570, 600, 3000, 0.05)
    good = round(low * 3000)
    assert tail(570, 600, 3000, good) > 0.05 >= tail(570, 600, 3000, good - 1)
    assert low < 570 / 600
    assert lower_bound(0, 10, 50, 0.1) == 0.0


def test_the_lower_bound_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    agreeing = random.hypergeometric(930, 70, 200, size=2000)
    bounds = {int(number): lower_bound(int(number), 200, 1000, 0.1) for number in set(agreeing.tolist())}
    missed = float(np.mean([bounds[int(number)] > 0.93 for number in agreeing]))
    assert 0.04 < missed <= 0.1 + 3 * (0.1 * 0.9 / 2000) ** 0.5


@pytest.mark.parametrize(("population", "target"), [(400, 0.9), (60, 0.8), (1000, 0.97)])
def test_who_bets_against_a_true_hypothesis_seldom_gets_rich(population: int, target: float) -> None:
    random = np.random.default_rng(3)
    rows = np.arange(population) < rows_needed(population, target) - 1
    rich = np.mean([wealth(random.permutation(rows), population, target).max() >= 20 for _ in range(2000)])
    assert rich <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_the_bets_are_fair_row_by_row() -> None:
    """The mean of what the two outcomes of the next row leave, weighted as the hypothesis weighs them, is no gain."""
    before = np.array([True, True, False, True, True])
    now = wealth(before, 50, 0.9)[-1]
    left = (rows_needed(50, 0.9) - 1 - before.sum()) / (50 - len(before))
    after = [wealth(np.append(before, outcome), 50, 0.9)[-1] for outcome in (True, False)]
    assert left * after[0] + (1 - left) * after[1] == pytest.approx(now)


def test_who_bets_against_a_false_hypothesis_gets_rich_before_the_end() -> None:
    random = np.random.default_rng(4)
    rows = np.arange(1000) < 970
    rich = [np.argmax(wealth(random.permutation(rows), 1000, 0.9) >= 20) for _ in range(50)]
    assert 0 < max(rich) < 400


def test_a_refuted_hypothesis_stays_refuted() -> None:
    grown = wealth(np.ones(10, dtype=bool), 10, 0.5)
    assert np.isinf(grown[5:]).all()  # six of ten agree: more than the hypothesis allows
    assert all(a <= b for a, b in pairwise(grown))
    assert wealth(np.zeros(0, dtype=bool), 10, 0.5).tolist() == []
