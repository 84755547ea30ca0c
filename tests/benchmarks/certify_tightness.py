"""How many calls of the reference a certificate takes, the audit's included, beside BARGAIN's.

Two tiers: BARGAIN_A and Tierwise get the same rows, the same scores of the cheap tier, target and delta. Tierwise draws
`audit_size` rows and tests every threshold. A row counts once, be it escalated or audited or both.
Three tiers: another tier is asked before, for its vote only, and the live combiner says what both answers are worth;
the two-tier certificates beside it see the same rows.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.certify import certify
from pipeline.certify.bounds import rows_needed
from pipeline.certify.chain import nested_chain
from pipeline.certify.outcomes import Floats, Outcomes
from pipeline.certify.size import audit_size
from pipeline.router.observed import Observed
from schemas.ids import TierName
from tests.benchmarks.certify_rows import (
    LABELS,
    LLAMA,
    MIXED,
    OPENAI,
    QWEN,
    TRUST,
    Ladder,
    likely,
    recorded,
    taken,
)

PEER = Path("build/bargain")
INSTALL = f"uv pip install --no-deps --target {PEER} bargain==0.1.3"
SEED = 30
BAR = 0.02  # of the rows, above BARGAIN at most
NARROW = 1e-9  # ties of scores are broken, at random and for both alike

# set, ladder, positions of the cheap tier and the reference
PAIRS = (
    ("cascades/mmlu", LLAMA, 1, 2),
    ("cascades/mmlu", OPENAI, 1, 2),
    ("cascades/medmcqa", LLAMA, 1, 2),
    ("cascades/medmcqa", OPENAI, 0, 2),
)
SIZES, TARGETS, DELTAS = (1000, 5000), (0.9, 0.95), (0.05, 0.1)
TRIPLES = (
    ("cascades/mmlu", MIXED, 0.9),
    ("cascades/mmlu", MIXED, 0.95),
    ("cascades/mmlu", QWEN, 0.9),
    ("cascades/medmcqa", MIXED, 0.95),
    ("cascades/medmcqa", QWEN, 0.9),
    ("textclass/policy_en", LABELS, 0.9),
    ("textclass/policy_en", LABELS, 0.95),
    ("textclass/sust_finance_en", LABELS, 0.95),
)
TRIPLE_ROWS, TRIPLE_DELTA = 5000, 0.05

Counted = tuple[int, bool]  # calls of the reference, and whether the target was missed
Run = Callable[[Outcomes, float, float, int], Counted]


def measure(seeds: int) -> dict[str, Any]:
    return {"seeds": seeds, "two_tiers": _two_tiers(seeds), "three_tiers": _three_tiers(seeds)}


def tierwise(rows: Outcomes, target: float, delta: float, seed: int) -> Counted:
    """An audit of the size that is worth it, and the lowest threshold that it certifies."""
    count = len(rows)
    drawn = np.random.default_rng([SEED, seed]).permutation(count)[: audit_size(count, target, delta)]
    audit = taken(rows, drawn)
    tested = certify.test_chain(nested_chain(audit), [audit], count, target, delta)
    if tested.chosen is None:
        return count, False
    plan = tested.tests[tested.chosen].candidate
    asked = rows.stops(plan.accept) == len(rows.tiers) - 1
    agrees, _ = rows.run(plan.accept)
    asked[drawn] = True
    return int(asked.sum()), int(agrees.sum()) < rows_needed(count, target)


def bargain() -> Run | None:
    """The peer, where it is installed."""
    sys.path.append(str(PEER))
    try:
        from BARGAIN import BARGAIN_A, Oracle, Proxy
    except ImportError:
        return None

    class Scores(Proxy):  # type: ignore[misc]
        """Recorded answers, each told apart, and scores."""

        def __init__(self, scores: Floats) -> None:
            super().__init__(verbose=False)
            self.scores = scores

        def get_preds_and_scores(self, indxs: Any, data_records: Any) -> tuple[Any, Any]:
            at = np.asarray(indxs, dtype=np.intp)
            return at.astype(str), self.scores[at]

    class Reference(Oracle):  # type: ignore[misc]
        """Whether the cheap answer agrees; which rows were ever asked."""

        def __init__(self, agrees: Any) -> None:
            super().__init__(verbose=False)
            self.agrees = agrees
            self.asked: set[int] = set()

        def reset(self) -> None:
            self.asked = set()

        def get_pred(self, data_records: Any, indxs: Any = None) -> Any:
            self.asked.update(np.asarray(indxs, dtype=np.intp).tolist())
            return np.array(["reference"] * len(indxs))

        def is_answer_correct(self, data_indxs: Any, data_records: Any, proxy_output_at_indxs: Any) -> Any:
            at = np.asarray(data_indxs, dtype=np.intp)
            self.asked.update(at.tolist())
            return self.agrees[at]

    def run(rows: Outcomes, target: float, delta: float, seed: int) -> Counted:
        reference = Reference(rows.agrees[:, -3])
        proxy = Scores(rows.confidence[:, -2])
        peer = BARGAIN_A(proxy, reference, target=target, delta=delta, verbose=False, seed=seed)
        records = [str(number) for number in range(len(rows))]
        _, used = peer.process(records, return_oracle_usage=True)
        right = int((reference.agrees | np.array(used)).sum())
        return len(reference.asked), right < rows_needed(len(rows), target)

    return run


def _two_tiers(seeds: int) -> list[dict[str, Any]]:
    peer = bargain()
    if peer is None:
        print(f"\nTightness: BARGAIN is not here, so Tierwise is alone: {INSTALL}")
    print(
        f"\nTightness, two tiers, {seeds} seeds: calls of the reference as a share of the rows, audit included"
    )
    print(
        f"{'set':18}{'tiers':32}{'rows':>6}{'target':>7}{'δ':>6}{'agree':>7}{'audit':>6}{'Tierwise':>10}{'BARGAIN_A':>11}"
        f"{'difference':>12}{'95 %':>18}{'missed':>8}{'theirs':>8}"
    )
    found = []
    for dataset, ladder, cheap, dear in PAIRS:
        observed = recorded(dataset, ladder.models)
        for count in SIZES:
            rows = _pair(observed, ladder, cheap, dear, count)
            for target in TARGETS:
                for delta in DELTAS:
                    one = _compared(rows, target, delta, seeds, peer)
                    found.append({"set": dataset, "tiers": list(rows.tiers), "rows": count, **one})
                    _print_pair(found[-1])
    paired = [each["difference"]["high"] for each in found if each["difference"]]
    if paired:
        print(
            f"not more than {BAR:.0%} of the rows above BARGAIN_A, by the interval's upper end: {max(paired) <= BAR}"
        )
    return found


def _pair(observed: Observed, ladder: Ladder, cheap: int, dear: int, count: int) -> Outcomes:
    """Rows drawn once, with replacement."""
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, len(observed), count)
    return _scored(
        observed, (ladder.models[cheap], ladder.models[dear]), cheap, dear, drawn, observed.score[:, cheap]
    )


def _scored(
    observed: Observed, tiers: tuple[str, str], cheap: int, dear: int, drawn: Any, score: Floats
) -> Outcomes:
    """Two tiers, of which the second is the reference."""
    random = np.random.default_rng(SEED + 1)
    said = np.where(np.isnan(score), TRUST, score)[drawn] + NARROW * random.random(len(drawn))
    agrees = (observed.answer[:, cheap] == observed.answer[:, dear])[drawn]
    ones, none = np.ones(len(drawn), dtype=bool), np.zeros(len(drawn), dtype=bool)
    return Outcomes(
        tiers=(TierName(tiers[0]), TierName(tiers[1])),
        confidence=np.column_stack([said, np.ones(len(drawn))]),
        agrees=np.column_stack([agrees, ones, none]),
        cost=observed.cost[drawn][:, [cheap, dear]],
    )


def _compared(rows: Outcomes, target: float, delta: float, seeds: int, peer: Run | None) -> dict[str, Any]:
    started = time.monotonic()
    ours = [tierwise(rows, target, delta, seed) for seed in range(seeds)]
    theirs = [peer(rows, target, delta, seed) for seed in range(seeds)] if peer else []
    return {
        "target": target,
        "delta": delta,
        "agree": round(float(rows.agrees[:, 0].mean()), 4),
        "audit": audit_size(len(rows), target, delta),
        "tierwise": _share(ours, len(rows)),
        "bargain": _share(theirs, len(rows)) if theirs else None,
        "difference": _paired(ours, theirs, len(rows)) if theirs else None,
        "missed": sum(miss for _, miss in ours) / seeds,
        "bargain_missed": sum(miss for _, miss in theirs) / seeds if theirs else None,
        "seconds": round(time.monotonic() - started, 1),
    }


def _share(runs: list[Counted], rows: int) -> float:
    return round(float(np.mean([calls for calls, _ in runs])) / rows, 4)


def _paired(ours: list[Counted], theirs: list[Counted], rows: int) -> dict[str, float]:
    """Mean difference by seed, as a share of the rows, and its 95 % interval (normal)."""
    less = np.array([mine[0] - other[0] for mine, other in zip(ours, theirs, strict=True)]) / rows
    reach = 1.96 * float(less.std(ddof=1)) / len(less) ** 0.5
    mean = float(less.mean())
    return {"mean": round(mean, 4), "low": round(mean - reach, 4), "high": round(mean + reach, 4)}


def _three_tiers(seeds: int) -> list[dict[str, Any]]:
    print(
        f"\nTightness, three tiers, {seeds} seeds, {TRIPLE_ROWS} rows, δ {TRIPLE_DELTA}: calls of the reference"
    )
    print(
        f"{'set':28}{'tiers':8}{'target':>7}{'first, dear':>13}{'second, dear':>14}{'all three':>11}"
        f"{'against the best':>18}{'missed':>8}"
    )
    found = []
    for dataset, ladder, target in TRIPLES:
        one = _tripled(dataset, ladder, target, seeds)
        found.append(one)
        print(
            f"{dataset:28}{ladder.name:8}{target:>7}{one['two_tiers'][0]:>13.1%}{one['two_tiers'][1]:>14.1%}{one['three_tiers']:>11.1%}"
            f"{one['difference']['mean']:>+9.1%} ±{one['difference']['high'] - one['difference']['mean']:.1%}"
            f"{one['missed']:>10.3f}",
            flush=True,
        )
    fewer = [each["difference"]["high"] < 0 for each in found]
    print(f"fewer than the best of two tiers: in {sum(fewer)} of {len(fewer)}")
    return found


def _tripled(dataset: str, ladder: Ladder, target: float, seeds: int) -> dict[str, Any]:
    observed = recorded(dataset, ladder.models)
    drawn = np.random.default_rng(SEED).integers(0, len(observed), TRIPLE_ROWS)
    votes = np.array([likely(observed, row, (0, 1)) for row in range(len(observed))])
    tiers = [(ladder.models[0], 0, observed.score[:, 0]), (ladder.models[1], 1, observed.score[:, 1])]
    tiers.append((ladder.models[1], 1, votes))
    runs = []
    for name, cheap, score in tiers:
        rows = _scored(observed, (name, ladder.models[2]), cheap, 2, drawn, score)
        runs.append([tierwise(rows, target, TRIPLE_DELTA, seed) for seed in range(seeds)])
    shares = [_share(each, TRIPLE_ROWS) for each in runs]
    best = runs[int(np.argmin(shares[:2]))]
    return {
        "set": dataset,
        "tiers": list(ladder.models),
        "target": target,
        "two_tiers": shares[:2],
        "three_tiers": shares[2],
        "difference": _paired(runs[2], best, TRIPLE_ROWS),
        "missed": sum(miss for _, miss in runs[2]) / seeds,
    }


def _print_pair(one: dict[str, Any]) -> None:
    difference = one["difference"]
    theirs = (
        f"{one['bargain']:>11.1%}{difference['mean']:>+12.1%}"
        f"{difference['low']:>+10.1%} {difference['high']:>+7.1%}{one['missed']:>8.3f}{one['bargain_missed']:>8.3f}"
        if difference
        else f"{'':41}{one['missed']:>8.3f}"
    )
    print(
        f"{one['set']:18}{' '.join(one['tiers']):32}{one['rows']:>6}{one['target']:>7}{one['delta']:>6}"
        f"{one['agree']:>7.3f}{one['audit']:>6}{one['tierwise']:>10.1%}{theirs}",
        flush=True,
    )
