"""Recorded outcomes as what an audit would see: every order of the tiers, judged by the live combiner."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from pipeline.cascade.combine import combine
from pipeline.certify.outcomes import Outcomes
from pipeline.replay.outcomes import Lengths, read_outcomes, read_prices
from pipeline.router.observed import Observed
from schemas.ids import TierName
from schemas.records import Vote
from tests.data import FOLDER

CASCADES, TEXTCLASS = "outcomes_cascades9_train.parquet", "outcomes_textclass_en.parquet"
GOLD = "gold"
TRUST = 0.6  # of a tier that says no confidence
LENGTHS = Lengths(prompt=200, output=10)  # textclass records no tokens: list prices at these


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """Models, the cheapest first."""

    name: str
    models: tuple[str, ...]


LLAMA = Ladder(name="llama", models=("llama3.2-3b", "llama3.1-70b", "llama3.1-405b"))
OPENAI = Ladder(name="openai", models=("llama3.1-8b", "gpt-4o-mini", "gpt-4o"))
QWEN = Ladder(name="qwen", models=("gpt-4o-mini", "qwen2.5-72b-instruct", "gpt-4o"))
MIXED = Ladder(name="mixed", models=("gpt-4o-mini", "llama3.1-70b", "llama3.1-405b"))
LABELS = Ladder(
    name="labels",
    models=("gpt-4.1-nano-2025-04-14", "gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14"),
)


@cache
def recorded(dataset: str, models: tuple[str, ...]) -> Observed:
    """Raises InputError where the file lacks them."""
    path = FOLDER / (CASCADES if dataset.startswith("cascades/") else TEXTCLASS)
    prices = read_prices(FOLDER / "prices.csv")
    (one,) = read_outcomes(path, models=models, datasets=[dataset], prices=prices, lengths=LENGTHS)
    return one.observed


def population(dataset: str, ladder: Ladder, reference: str, rows: int, seed: int) -> list[Outcomes]:
    """So many rows drawn once from the recorded ones, with replacement: what is true of them is known."""
    observed = recorded(dataset, ladder.models)
    drawn = np.random.default_rng(seed).integers(0, len(observed), rows)
    return [taken(each, drawn) for each in every_order(observed, ladder, reference)]


def every_order(observed: Observed, ladder: Ladder, reference: str) -> list[Outcomes]:
    """Each way up the ladder, of one tier or more."""
    tiers = range(len(ladder.models))
    sizes = (combinations(tiers, size) for size in range(1, len(tiers) + 1))
    return [on_order(observed, ladder, order, reference) for way in sizes for order in way]


def on_order(observed: Observed, ladder: Ladder, order: Sequence[int], reference: str) -> Outcomes:
    columns = list(order)
    confidence = [
        [likely(observed, row, columns[: at + 1]) for at in range(len(columns))]
        for row in range(len(observed))
    ]
    agrees = _agrees(observed, ladder, reference)[:, columns]
    return Outcomes(
        tiers=tuple(TierName(ladder.models[column]) for column in columns),
        confidence=np.array(confidence),
        agrees=np.column_stack([agrees, np.zeros(len(observed), dtype=bool)]),
        cost=observed.cost[:, columns],
    )


def _agrees(observed: Observed, ladder: Ladder, reference: str) -> np.ndarray:
    if reference == GOLD:
        return observed.correct > 0.5
    theirs = observed.answer[:, [ladder.models.index(reference)]]
    return (observed.answer == theirs) & (theirs >= 0)


def likely(observed: Observed, row: int, asked: Sequence[int]) -> float:
    """P(correct) of the last of the tiers asked."""
    answers, own = observed.answer[row, list(asked)], observed.score[row, asked[-1]]
    votes = [] if np.isnan(own) else [Vote(judge="confidence", version=1, score=float(own))]
    if len(asked) > 1:
        same = float((answers[:-1] == answers[-1]).mean())
        votes.append(Vote(judge="agreement", version=1, score=same))
    return combine(votes, TRUST)


def taken(outcomes: Outcomes, rows: np.ndarray) -> Outcomes:
    return Outcomes(outcomes.tiers, outcomes.confidence[rows], outcomes.agrees[rows], outcomes.cost[rows])
