"""What live plans gain by the vote of answers paid for, and by being made again after each answer.

The plans are those of ε-greedy as it routes jobs, not exploring. At each of twelve prices of a right answer, threshold
and λ are chosen on the fitting folds; what counts is accuracy - cost / price on the other fold, in points.

python -m tests.benchmarks.routing_live [--quick]
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.features.latent import LatentEncoder
from pipeline.replay.curves import interval, resampled
from pipeline.replay.live import KNOBS, fit_live
from pipeline.replay.outcomes import Outcomes, read_outcomes
from pipeline.replay.splits import clusters_of, fold_splits
from pipeline.router.choosing import prices
from tests.benchmarks import routing_cascades, routing_textclass
from tests.benchmarks.figures import write

KINDS = {
    "as planned": {"fuses": False, "replans": False},
    "fused": {"fuses": True, "replans": False},
    "planned again": {"fuses": False, "replans": True},
    "fused, planned again": {"fuses": True, "replans": True},
}
PLAIN = "as planned"
Figures = NDArray[np.float64]


def measure(repeats: int) -> dict[str, Any]:
    found = {}
    for name, outcomes in {
        "cascades9": read_outcomes(routing_cascades.FILE, datasets=routing_cascades.SETS),
        "textclass": routing_textclass.outcomes(),
    }.items():
        found[name] = _compared([_played(one, repeats) for one in outcomes], outcomes)
        _print(name, found[name], repeats)
    return found


def _played(one: Outcomes, repeats: int) -> dict[str, Figures]:
    """[3, knobs, n] correct, cost and value of each query, mean over the repeats."""
    rows = replace(one.observed, features=LatentEncoder(one.texts).encode(one.texts))
    clusters, usd = clusters_of(one.texts), prices(rows, KNOBS)
    made = {kind: np.zeros((3, KNOBS, len(rows))) for kind in KINDS}
    for repeat in range(repeats):
        for split in fold_splits(rows, clusters, 0, repeat):
            other = rows.take(split.rows)
            for kind, flags in KINDS.items():
                fitted = fit_live("epsilon-greedy", split.fitting, **flags)
                numbers = fitted.at_prices(usd)
                runs = {number: fitted.rules[number].run(other) for number in set(numbers)}
                for knob, number in enumerate(numbers):
                    run = runs[number]
                    made[kind][:, knob, split.rows] += (
                        run.correct,
                        run.cost,
                        run.correct - run.cost / usd[knob],
                    )
    return {kind: each / repeats for kind, each in made.items()}


def _compared(sets: list[dict[str, Figures]], outcomes: list[Outcomes]) -> dict[str, Any]:
    """Points of value more than as planned, mean over prices and sets, with its paired interval."""
    weights = [resampled(clusters_of(one.texts), seed) for seed, one in enumerate(outcomes)]
    found: dict[str, Any] = {}
    for kind in KINDS:
        gains = [100 * (each[kind][2] - each[PLAIN][2]).mean(axis=0) for each in sets]
        drawn = np.mean([draws @ gain for draws, gain in zip(weights, gains, strict=True)], axis=0)
        low, high = interval(drawn)
        found[kind] = {
            "accuracy": float(np.mean([each[kind][0].mean() for each in sets])),
            "usd_ratio": float(
                np.exp(np.mean([np.log(each[kind][1].mean() / each[PLAIN][1].mean()) for each in sets]))
            ),
            "points": float(np.mean([gain.mean() for gain in gains])),
            "low": low,
            "high": high,
            "sets": {one.dataset: float(gain.mean()) for one, gain in zip(outcomes, gains, strict=True)},
        }
    return found


def _print(name: str, found: dict[str, Any], repeats: int) -> None:
    print(
        f"\n{name}, live plans, {repeats} repeats of five folds, mean over {KNOBS} prices of a right answer"
    )
    print(f"{'plans':22}{'accuracy':>9}{'cost':>8}{'value, points':>15}{'90 % interval':>18}")
    for kind, one in found.items():
        limits = f"{one['low']:+.2f} to {one['high']:+.2f}"
        print(
            f"{kind:22}{one['accuracy']:9.4f}{one['usd_ratio']:7.3f}×{one['points']:+15.2f}{limits:>18}  "
            + ", ".join(f"{each.partition('/')[2]} {points:+.2f}" for each, points in one["sets"].items())
        )


if __name__ == "__main__":
    with threadpool_limits(1):
        write("routing_live", measure(1 if "--quick" in sys.argv else 5))
