"""What each part of the router gets alone, on recorded outcomes: accuracy and cost, every query judged out of fold.

The parts of EMAFusion (arXiv 2504.10681): a taxonomy's table, a learned router, a cascade with one judge (the model's
own confidence) or several (with its label, agreement and text, by a fitted combiner), fusion, and all of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.replay.categories import categorised
from pipeline.replay.outcomes import Outcomes, read_outcomes
from pipeline.replay.replay import Replayed, replay
from pipeline.router.observed import Observed, Tried
from tests.benchmarks import routing_textclass
from tests.benchmarks.certify_rows import CASCADES
from tests.data import FOLDER

PARTS = {
    "the best single model": "single",
    "taxonomy only": "taxonomy",
    "learned only": "learned",
    "cascade only, one judge": "two-model",
    "cascade only, several judges": "cascade",
    "escalation by expected gain": "escalation",
    "cascade with fusion": "fusion",
    "all": "all",
}
TARGET = 1.0  # of the best single model's accuracy, less luck
TOPICS = Path(__file__).parent / "policy_topics.yaml"


def measure(repeats: int) -> dict[str, Any]:
    """Cascades: five sets in one, each a category. Policy: a tree of keywords, and list prices at stated lengths."""
    print(
        f"\nWhat each part gets alone, {repeats} repeats of five folds; asked for the best single model's accuracy"
    )
    sets = {
        "cascades9, five sets": _pooled(read_outcomes(FOLDER / CASCADES)),
        "textclass/policy_en": categorised(routing_textclass.policy(), TOPICS),
    }
    return {name: _measured(name, one, repeats) for name, one in sets.items()}


def _measured(name: str, outcomes: Outcomes, repeats: int) -> dict[str, Any]:
    played = replay(outcomes, None, target=TARGET, repeats=repeats)
    found = {part: _part(played, method) for part, method in PARTS.items() if method in played.methods}
    found["the dear model always"] = _tried(_dearest(played))
    _print(name, played, found)
    return {"queries": played.queries, "parts": found}


def _part(played: Replayed, method: str) -> dict[str, float]:
    """At the operating point, and at the knob that pays most for a right answer."""
    one = played.methods[method]
    most = int(np.argmax(one.curve.correct.mean(axis=1)))
    return {
        **_tried(one.point),
        "most_accuracy": round(float(one.curve.correct[most].mean()), 4),
        "most_usd_per_1000": round(1000 * float(one.curve.cost[most].mean()), 4),
    }


def _tried(tried: Tried) -> dict[str, float]:
    return {
        "accuracy": round(float(tried.correct.mean()), 4),
        "usd_per_1000": round(1000 * float(tried.cost.mean()), 4),
    }


def _dearest(played: Replayed) -> Tried:
    return max(played.singles.values(), key=lambda tried: float(tried.cost.mean()))


def _pooled(sets: Sequence[Outcomes]) -> Outcomes:
    """One set of all, whose categories are the sets; answers of different sets are never the same."""
    rows = [each.observed for each in sets]
    before = np.cumsum([0, *(len(each.answers) for each in sets)])
    answer = [
        np.where(one.answer < 0, -1, one.answer + first) for one, first in zip(rows, before, strict=False)
    ]
    observed = Observed(
        correct=np.concatenate([one.correct for one in rows]),
        cost=np.concatenate([one.cost for one in rows]),
        score=np.concatenate([one.score for one in rows]),
        answer=np.concatenate(answer),
        features=np.concatenate([one.features for one in rows]),
        category=np.repeat(np.arange(len(sets)), [len(one) for one in rows]),
    )
    return replace(
        sets[0],
        dataset="pooled",
        texts=tuple(text for each in sets for text in each.texts),
        observed=observed,
        answers=tuple(answer for each in sets for answer in each.answers),
        categories=tuple(each.dataset for each in sets),
        left_out=sum(each.left_out for each in sets),
    )


def _print(name: str, played: Replayed, found: dict[str, dict[str, float]]) -> None:
    print(
        f"\n{name}, {played.queries} queries, {len(played.singles)} models; best single: {played.best_single}"
    )
    print(f"{'part':32}{'accuracy':>9}{'$ per 1,000':>13}{'most accurate':>15}{'$ per 1,000':>13}")
    for part, one in found.items():
        most = (
            f"{one['most_accuracy']:>15.4f}{one['most_usd_per_1000']:>13.4f}"
            if "most_accuracy" in one
            else ""
        )
        print(f"{part:32}{one['accuracy']:>9.4f}{one['usd_per_1000']:>13.4f}{most}", flush=True)
