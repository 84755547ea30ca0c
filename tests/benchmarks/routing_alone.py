"""Routing alone: which queries go to the dear one of two models, against choosing them at random at equal cost.

Two models of textclass, before any call and after the cheap one's answer; and the two models of RouteLLM's evaluation,
before any call, beside what RouteLLM publishes. Orders are out of fold; what differs between them is only who is asked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features.latent import LatentEncoder
from pipeline.replay.categories import categorised
from pipeline.replay.curves import everyone, interval, resampled
from pipeline.replay.outcomes import Outcomes, read_outcomes
from pipeline.replay.splits import clusters_of, fold_splits
from pipeline.router.learned import chances, fit_chances
from pipeline.router.observed import Matrix, Observed, Vector
from pipeline.router.rules import gain
from pipeline.router.scorers import LearnedScorer
from pipeline.router.suitability import suitability
from tests.benchmarks.routing_textclass import outcomes
from tests.data import FOLDER

CHEAP, DEAR = 0, 1  # columns
PAIR = ("gpt-4.1-nano-2025-04-14", "gpt-4.1-2025-04-14")
ROUTELLM = ("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")
TREE = Path(__file__).with_name(
    "policy_topics.yaml"
)  # written from the codebook's topics, before outcomes were read
SHARES = np.linspace(0.25, 0.75, 51)  # of queries that go to the dear model
BARS = {("textclass/policy_en", "after"): 2.0, ("textclass/sust_finance_en", "before"): 1.5}
# Share of GPT-4 calls saved at 95 % of its accuracy: lmsys.org/blog/2024-07-01-routellm
PUBLISHED = {"routellm/mmlu": 0.45, "routellm/gsm8k": 0.35}

Order = Callable[
    [Observed, Observed], Vector
]  # fitting rows, judged rows -> [n] who needs the dear model most


def learned(fitting: Observed, rows: Observed) -> Vector:
    likely = chances(fit_chances(fitting), rows)
    return likely[:, DEAR] - likely[:, CHEAP]


def taxonomy(fitting: Observed, rows: Observed) -> Vector:
    table = suitability(fitting)
    known = np.where(rows.category >= len(table) - 1, -1, rows.category)
    return table[known, DEAR] - table[known, CHEAP]


def after_the_cheap_call(fitting: Observed, rows: Observed) -> Vector:
    return gain(rows, CHEAP, DEAR, LearnedScorer(fitting))


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """One way to order queries: a score each [repeats, n], and whether the cheap model is paid for all of them."""

    scores: Matrix
    asks_both: bool


def measure(repeats: int) -> dict[str, Any]:
    sets = outcomes(models=PAIR)
    found = {
        "areas": {one.dataset: _areas(_ready(one, TREE), repeats) for one in sets},
        "routellm2": {one.dataset: _routellm(_ready(one), min(2, repeats)) for one in _recorded()},
    }
    _print(found)
    return found


def _recorded() -> list[Outcomes]:
    prices = dict.fromkeys(ROUTELLM, (1.0, 1.0))  # calls are counted, not money
    return read_outcomes(FOLDER / "outcomes_routellm2.parquet", models=ROUTELLM, prices=prices)


def _ready(one: Outcomes, tree: Path | None = None) -> Outcomes:
    found = categorised(one, tree) if tree else one
    features = LatentEncoder(one.texts).encode(one.texts)
    return replace(found, observed=replace(found.observed, features=features))


def _ordered(one: Outcomes, order: Order, repeats: int, asks_both: bool = False) -> Ordered:
    scores = np.zeros((repeats, len(one.observed)))
    for number in range(repeats):
        for split in fold_splits(one.observed, clusters_of(one.texts), 0, number):
            scores[number, split.rows] = order(split.fitting, one.observed.take(split.rows))
    return Ordered(scores=scores, asks_both=asks_both)


def _areas(one: Outcomes, repeats: int) -> dict[str, Any]:
    ways = {
        "before": _ordered(one, learned, repeats),
        "before, taxonomy only": _ordered(one, taxonomy, repeats),
        "after": _ordered(one, after_the_cheap_call, repeats, asks_both=True),
    }
    return {name: _area(one, ordered) for name, ordered in ways.items()}


def _area(one: Outcomes, ordered: Ordered) -> dict[str, float]:
    """Points over random at equal cost, mean over the shares, and the paired lower 90 % limit."""
    weights = resampled(clusters_of(one.texts), draws=400)
    drawn = _mean_gain(one.observed, ordered, weights)
    points = _mean_gain(one.observed, ordered, everyone(len(one.observed)))[0]
    return {"points": 100 * float(points), "lower_limit": 100 * interval(drawn, 0.8)[0]}


def _mean_gain(rows: Observed, ordered: Ordered, weights: Matrix) -> Vector:
    """[b] accuracy over random's at equal cost, mean over the shares and the repeats."""
    better = rows.correct[:, DEAR] - rows.correct[:, CHEAP]
    cheap, dear = rows.cost.mean(axis=0)
    random = SHARES * (dear / (dear - cheap) if ordered.asks_both else 1.0)
    gains = np.zeros(len(weights))
    for recovered in _recovered(better, ordered, weights, SHARES):
        gains += (recovered - np.outer(weights @ better, random)).mean(axis=1)
    mean: Vector = gains / len(ordered.scores)
    return mean


def _recovered(better: Vector, ordered: Ordered, weights: Matrix, shares: Vector) -> Iterator[Matrix]:
    """For each repeat [b, shares]: accuracy gained over the cheap model alone."""
    for scores in ordered.scores:
        rank = np.argsort(-scores, kind="stable")
        asked = np.cumsum(weights[:, rank], axis=1)
        gained = np.cumsum(weights[:, rank] * better[rank], axis=1)
        yield np.stack([np.interp(shares, *pair) for pair in zip(asked, gained, strict=True)])


def _routellm(one: Outcomes, repeats: int) -> dict[str, Any]:
    """Shares of GPT-4 calls for 50 and 80 % of the gap (CPT), the mean gap recovered (APGR), and calls saved at 95 %
    of GPT-4's accuracy (arXiv 2406.18665, section 3)."""
    ways = {"learned": _ordered(one, learned, repeats)}
    if one.dataset == "routellm/mmlu":
        ways["taxonomy only"] = _ordered(one, taxonomy, repeats)
        ways["all"] = _ordered(
            one, lambda fitting, rows: learned(fitting, rows) + taxonomy(fitting, rows), repeats
        )
    cheap, dear = one.observed.correct.mean(axis=0)
    better = one.observed.correct[:, DEAR] - one.observed.correct[:, CHEAP]
    shares = np.linspace(0, 1, 1001)
    found: dict[str, Any] = {"published_saved_at_95": PUBLISHED[one.dataset]}
    random = {"random": shares}
    for name, ordered in ways.items():
        curves = [each[0] for each in _recovered(better, ordered, everyone(len(better)), shares)]
        random[name] = np.mean(curves, axis=0) / (dear - cheap)
    for name, gap in random.items():
        found[name] = {
            "cpt_50": float(shares[np.argmax(gap >= 0.5)]),
            "cpt_80": float(shares[np.argmax(gap >= 0.8)]),
            "apgr": float(gap.mean()),
            "saved_at_95": 1 - float(shares[np.argmax(cheap + gap * (dear - cheap) >= 0.95 * dear)]),
        }
    return found


def _print(found: dict[str, Any]) -> None:
    print(f"\nrouting alone, {PAIR[0]} or {PAIR[1]}: points over random at equal cost, 25 to 75 % dear calls")
    for dataset, ways in found["areas"].items():
        for name, one in ways.items():
            verdict = _verdict(BARS.get((dataset, name)), one)
            limit = f"lower 90 % limit {one['lower_limit']:+.2f}"
            print(f"  {dataset:28}{name:24}{one['points']:+.2f} ({limit}){verdict}")
    print("\nroutellm2, before any call, five folds: share of GPT-4 calls")
    for dataset, ways in found["routellm2"].items():
        published = f"{ways['published_saved_at_95']:.0%}"
        print(f"  {dataset}: RouteLLM publishes {published} fewer calls at 95 % of GPT-4's accuracy")
        for name, one in ways.items():
            if isinstance(one, dict):
                print(
                    f"    {name:16}CPT(50 %) {one['cpt_50']:.1%}  CPT(80 %) {one['cpt_80']:.1%}  "
                    f"APGR {one['apgr']:.3f}  fewer calls at 95 % {one['saved_at_95']:.1%}"
                )


def _verdict(bar: float | None, one: dict[str, float]) -> str:
    if bar is None:
        return ""
    return f"  bar {bar}: {'met' if one['points'] >= bar and one['lower_limit'] > 0 else 'missed'}"
