"""The short form of `make certify`: a few cells of coverage, and calls of the reference, on recorded outcomes."""

import numpy as np
import pytest

from pipeline.certify.chain import nested_chain
from pipeline.certify.outcomes import of_tiers
from schemas.ids import TierName
from tests.benchmarks import certify_coverage, certify_tightness
from tests.benchmarks.certify_coverage import AUDIT, PILOT, POPULATION, SEED, Cell, certified_plan
from tests.benchmarks.certify_rows import (
    CASCADES,
    GOLD,
    LABELS,
    LLAMA,
    MIXED,
    TEXTCLASS,
    likely,
    population,
    recorded,
)
from tests.data import data_file

RUNS = 40
CERTAIN = [
    (CASCADES, Cell(dataset="cascades/medmcqa", ladder=LLAMA, reference=LLAMA.models[-1], target=0.95)),
    (CASCADES, Cell(dataset="cascades/triviaqa", ladder=LLAMA, reference=GOLD, target=0.94)),
    (
        TEXTCLASS,
        Cell(dataset="textclass/sust_finance_en", ladder=LABELS, reference=LABELS.models[-1], target=0.93),
    ),
]
BEYOND = (CASCADES, Cell(dataset="cascades/medmcqa", ladder=LLAMA, reference=GOLD, target=0.95))


def certified(cell: Cell) -> tuple[float, float, float]:
    """Shares of runs that certified, and that certified too much; mean cost of the plans, against the dear tier."""
    rows = population(cell.dataset, cell.ladder, cell.reference, POPULATION, SEED)
    dear = of_tiers(rows, (TierName(cell.ladder.models[-1]),)).cost.mean()
    random = np.random.default_rng(1)
    found, costs, below = 0, [], 0
    for _ in range(RUNS):
        if (plan := certified_plan(rows, random, cell.target, cell.delta)) is not None:
            agrees, cost = of_tiers(rows, plan.tiers).run(plan.accept)
            found, below = found + 1, below + (agrees.mean() < cell.target)
            costs.append(cost.mean() / dear)
    return found / RUNS, below / RUNS, float(np.mean(costs or [1.0]))


@pytest.mark.parametrize(("file", "cell"), CERTAIN, ids=[cell.dataset for _, cell in CERTAIN])
def test_a_target_within_reach_is_certified_for_less_and_seldom_wrongly(file: str, cell: Cell) -> None:
    data_file(file)
    share, below, cost = certified(cell)
    assert share >= 0.95
    assert below <= 0.05 + 3 * (0.05 * 0.95 / RUNS) ** 0.5
    assert cost < 0.6


def test_a_target_out_of_reach_is_refused() -> None:
    data_file(BEYOND[0])
    assert certified(BEYOND[1])[0] <= 0.05


def test_the_cells_are_of_sets_whose_best_plan_is_known() -> None:
    assert len(certify_coverage.CELLS) == len(set(map(str, certify_coverage.CELLS)))
    assert PILOT + AUDIT < POPULATION
    assert POPULATION >= 5 * AUDIT


def test_two_tiers_certify_with_few_calls_of_the_reference() -> None:
    data_file(CASCADES)
    observed = recorded("cascades/medmcqa", LLAMA.models)
    rows = certify_tightness._pair(observed, LLAMA, 1, 2, 5000)
    runs = [certify_tightness.tierwise(rows, 0.95, 0.1, seed) for seed in range(20)]
    assert np.mean([calls for calls, _ in runs]) / 5000 < 0.25  # BARGAIN_A: .31
    assert sum(miss for _, miss in runs) <= 6
    assert len(nested_chain(rows)) == 5001


def test_a_vote_of_a_third_tier_saves_calls() -> None:
    data_file(CASCADES)
    one = certify_tightness._tripled("cascades/mmlu", MIXED, 0.9, seeds=10)
    assert one["three_tiers"] < min(one["two_tiers"]) - 0.02


def test_the_live_combiner_says_what_an_answer_is_worth() -> None:
    data_file(CASCADES)
    observed = recorded("cascades/mmlu", MIXED.models)
    for row in range(20):
        agreed = observed.answer[row, 0] == observed.answer[row, 1]
        alone, beside = likely(observed, row, (1,)), likely(observed, row, (0, 1))
        assert beside > alone if agreed else beside < alone
