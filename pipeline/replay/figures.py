"""What is said of a replay: means, ratios, curves and how sure they are, as one dictionary for each dataset."""

from typing import Any

import numpy as np

from pipeline.replay.curves import above, everyone, interval, resampled
from pipeline.replay.methods import BASELINES
from pipeline.replay.replay import Played, Replayed
from pipeline.router.calibration import Calibration
from pipeline.router.observed import Tried


def figures(one: Replayed, target: float) -> dict[str, Any]:
    """Keys: best_single, two_model, singles, policies, chosen, calibration …; money in USD a query."""
    best = one.singles[one.best_single]
    return {
        "queries": one.queries,
        "priced_from_list": one.priced,
        "target": target,
        "best_single": {"model": one.best_single, **means(best, one.reference)},
        "reference": means(one.reference, one.reference),
        "two_model": {
            "models": one.methods["two-model"].models,
            **means(one.methods["two-model"].point, one.reference),
        },
        "singles": {name: means(tried, one.reference) for name, tried in one.singles.items()},
        "policies": {name: _policy(one, played, target) for name, played in one.methods.items()},
        "chosen": one.chosen,
        "chosen_above": chosen_above(one),
        "fusion_gain": fusion_gain(one),
        "calibration": _calibration(one.calibration),
        "own_confidence": _calibration(one.own_calibration),
    }


def means(tried: Tried, reference: Tried) -> dict[str, float]:
    accuracy, cost = float(tried.correct.mean()), float(tried.cost.mean())
    return {
        "accuracy": accuracy,
        "cost_per_query_usd": cost,
        "calls_per_query": float(tried.calls.mean()),
        "fraction_of_reference": accuracy / max(1e-12, float(reference.correct.mean())),
        "times_cheaper": float(reference.cost.mean()) / cost if cost else float("inf"),
    }


def chosen_above(one: Replayed) -> dict[str, float]:
    """For each baseline, P(the chosen policy's curve costs less at the baseline's own accuracy)."""
    weights, ours = resampled(one.clusters), one.methods[one.chosen].curve
    return {name: above(ours, one.methods[name].point, weights) for name in BASELINES}


def fusion_gain(one: Replayed) -> dict[str, float]:
    """Accuracy that the vote adds to the learned cascade at the cascade's own cost, with its middle 90 %."""
    cascade = one.methods["cascade"].point
    curve, weights = one.methods["fusion"].curve, resampled(one.clusters)
    draws = curve.accuracy_at(weights @ cascade.cost, weights) - weights @ cascade.correct
    once = everyone(one.queries)
    low, high = interval(draws)
    mean = curve.accuracy_at(once @ cascade.cost, once) - once @ cascade.correct
    return {"accuracy": float(mean[0]), "low": low, "high": high}


def _policy(one: Replayed, played: Played, target: float) -> dict[str, Any]:
    once = everyone(one.queries)
    wanted = np.array([target * one.reference.correct.mean()])
    cost = float(played.curve.cost_at(wanted, once)[0])
    return {
        **means(played.point, one.reference),
        "asks": played.models,
        "curve": [
            {"accuracy": float(accuracy), "cost_per_query_usd": float(usd)}
            for accuracy, usd in zip(
                played.curve.correct.mean(axis=1), played.curve.cost.mean(axis=1), strict=True
            )
        ],
        "curve_times_cheaper_at_target": float(one.reference.cost.mean()) / cost,
    }


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    table = [{"answers": count, "stated": said, "right": right} for count, said, right in found.table]
    return {"brier": found.brier, "brier_base_rate": found.base, "error": found.error, "reliability": table}
