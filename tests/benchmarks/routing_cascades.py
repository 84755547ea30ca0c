"""cascades9: nine models with recorded costs and confidences on four sets, 99 % of the best single model asked for."""

from typing import Any

import numpy as np

from pipeline.replay.curves import everyone, interval, resampled
from pipeline.replay.figures import figures
from pipeline.replay.methods import BASELINES
from pipeline.replay.outcomes import read_outcomes
from pipeline.replay.replay import Replayed, replay
from tests.data import FOLDER

FILE = FOLDER / "outcomes_cascades9_train.parquet"
SETS = tuple(f"cascades/{name}" for name in ("mmlu", "medmcqa", "triviaqa", "truthfulqa"))
TARGET = 0.99
ALWAYS = "gpt-4o"


def measure(repeats: int) -> dict[str, Any]:
    sets = [
        replay(outcomes, None, target=TARGET, repeats=repeats)
        for outcomes in read_outcomes(FILE, datasets=SETS)
    ]
    found = _summed(sets)
    _print(found, repeats)
    return found


def _summed(sets: list[Replayed]) -> dict[str, Any]:
    chosen = sets[0].chosen
    everywhere = [name for name in sets[0].methods if all(name in one.methods for one in sets)]
    weights = [resampled(one.clusters, seed) for seed, one in enumerate(sets)]
    return {
        "methods": {name: _method(sets, name, weights) for name in everywhere},
        "chosen": chosen,
        "above": {name: _above(sets, chosen, name, weights) for name in BASELINES},
        "fusion": _fusion(sets, weights),
        "sets": {one.dataset: figures(one, TARGET) for one in sets},
    }


def _method(sets: list[Replayed], name: str, weights: list[Any]) -> dict[str, Any]:
    """Means over the sets: fraction of the reference reached, times cheaper (geometric), the curve at the target."""
    points = [one.methods[name].point for one in sets]
    drawn = np.stack(
        [
            (draws @ point.correct) / (draws @ one.reference.correct)
            for one, point, draws in zip(sets, points, weights, strict=True)
        ]
    )
    pairs = list(zip(sets, points, strict=True))
    curve = [float(_curve_cost(one, name, everyone(one.queries))[0]) for one in sets]
    return {
        "fraction": float(np.mean([p.correct.mean() / one.reference.correct.mean() for one, p in pairs])),
        "interval": interval(drawn.mean(axis=0)),
        "upper_limits": {one.dataset: interval(row, 0.8)[1] for one, row in zip(sets, drawn, strict=True)},
        "times_cheaper": _geometric([one.reference.cost.mean() / p.cost.mean() for one, p in pairs]),
        f"times_cheaper_than_{ALWAYS}": _geometric(
            [one.singles[ALWAYS].cost.mean() / p.cost.mean() for one, p in pairs]
        ),
        f"points_over_{ALWAYS}": float(
            100 * np.mean([p.correct.mean() - one.singles[ALWAYS].correct.mean() for one, p in pairs])
        ),
        "curve_times_cheaper": _geometric(
            [one.reference.cost.mean() / cost for one, cost in zip(sets, curve, strict=True)]
        ),
    }


def _curve_cost(one: Replayed, name: str, weights: Any) -> Any:
    return one.methods[name].curve.cost_at(TARGET * (weights @ one.reference.correct), weights)


def _above(sets: list[Replayed], ours: str, baseline: str, weights: list[Any]) -> dict[str, float]:
    """P(geometric mean over the sets of their cost over ours > 1), at the baseline's own operating point and, both
    knobs set in hindsight, at the target."""
    at_point, at_target = [], []
    for one, draws in zip(sets, weights, strict=True):
        theirs = one.methods[baseline].point
        cost = one.methods[ours].curve.cost_at(draws @ theirs.correct, draws)
        at_point.append(
            np.log(draws @ theirs.cost) - np.log(np.where(np.isinf(cost), draws @ _dearest(one), cost))
        )
        at_target.append(np.log(_curve_cost(one, baseline, draws)) - np.log(_curve_cost(one, ours, draws)))
    return {
        "at_its_point": float((np.mean(at_point, axis=0) > 0).mean()),
        "at_the_target": float((np.mean(at_target, axis=0) > 0).mean()),
    }


def _dearest(one: Replayed) -> Any:
    """What is paid where our curve does not reach a lucky draw's accuracy: the dearest model for every query."""
    return max((tried.cost for tried in one.singles.values()), key=lambda cost: float(cost.mean()))


def _fusion(sets: list[Replayed], weights: list[Any]) -> dict[str, float]:
    """Points of accuracy that the vote adds at the learned cascade's own cost, mean over the sets."""
    drawn = []
    for one, draws in zip(sets, weights, strict=True):
        cascade, curve = one.methods["cascade"].point, one.methods["fusion"].curve
        drawn.append(100 * (curve.accuracy_at(draws @ cascade.cost, draws) - draws @ cascade.correct))
    mean = np.mean(drawn, axis=0)
    low, high = interval(mean)
    return {"points": float(np.median(mean)), "low": low, "high": high}


def _geometric(ratios: list[Any]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def _print(found: dict[str, Any], repeats: int) -> None:
    print(
        f"\ncascades9, four sets, {repeats} repeats of five folds, asked for {TARGET:.0%} of the best single model"
    )
    print(
        f"{'method':16}{'reached':>9}{'90 % interval':>18}{'cheaper':>9}{'curve':>8}{'than 4o':>9}  worst upper limit"
    )
    for name, one in found["methods"].items():
        low, high = one["interval"]
        print(
            f"{name:16}{one['fraction']:9.4f}{f'{low:.4f}–{high:.4f}':>18}{one['times_cheaper']:8.2f}×"
            f"{one['curve_times_cheaper']:7.2f}×{one[f'times_cheaper_than_{ALWAYS}']:8.2f}×"
            f"  {min(one['upper_limits'].values()):.3f}"
        )
    for name, sure in found["above"].items():
        print(
            f"P({found['chosen']} above {name}): {sure['at_its_point']:.2f} at its own accuracy, "
            f"{sure['at_the_target']:.2f} both curves at the target"
        )
    fusion = found["fusion"]
    print(
        f"fusion at equal cost: {fusion['points']:+.2f} points ({fusion['low']:+.2f} to {fusion['high']:+.2f})"
    )
