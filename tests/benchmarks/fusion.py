"""Fusion against a plain majority, over the same recorded answers: who is right where models that are alike agree.

Half of each set (by a hash of its text) calibrates P(correct) of each model's answer and what the others' agreement
weighs, the other half is voted on. Weights and vote are the cascade's own (`calibrate`, `standing`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b

import numpy as np

from pipeline.cascade.calibrate import Labelled, calibrate
from pipeline.cascade.combine import Combiner, combine, standing
from pipeline.replay.outcomes import Outcomes, read_outcomes
from pipeline.router.observed import Codes, Matrix, Observed, Vector
from pipeline.router.rules import Scorer
from pipeline.router.scorers import cross_fit_scorer
from schemas.ids import TierName
from schemas.records import Answer, Step, Vote
from tests.benchmarks.figures import write
from tests.data import FOLDER

CASCADES, TEXTCLASS = "outcomes_cascades9_train.parquet", "outcomes_textclass_en.parquet"
# Three small models of one maker and a large one of another; a ladder; everybody. Alike models are wrong together.
SIBLINGS = ("llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "gpt-4o")
LADDER = ("llama3.2-3b", "llama3.1-8b", "gpt-4o-mini", "gpt-4o")
GEMMAS = ("gemma2", "gemma3_12b", "gemma3_27b", "gpt-5-2025-08-07")
GPTS = ("gpt-4.1-nano-2025-04-14", "gpt-4o-mini-2024-07-18", "gpt-4.1-mini-2025-04-14", "gpt-4.1-2025-04-14")
GROUPS = {
    "three siblings and a large one": SIBLINGS,
    "a ladder": LADDER,
    "gemmas and gpt-5": GEMMAS,
    "gpts": GPTS,
}
SURE = 1e-3  # no answer is believed or doubted more than that


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Accuracies on the queries voted on, and the gain of the weighted vote with half a 95 % interval, paired."""

    dataset: str
    models: tuple[str, ...]
    queries: int
    majority: float
    weighted: float
    best_model: float  # alone, chosen on the calibrating half
    gain: float
    margin: float
    shared: int  # queries on which two models or more agree, the majority is wrong with them and the weighted vote not
    converse: int  # and the other way round


def main() -> None:
    rows = list(compared())
    print(
        f"\n{'set':26}{'models':>7}{'n':>6}{'majority':>10}{'weighted':>10}{'best one':>10}{'gain':>17}"
        "  shared/converse"
    )
    for row in rows:
        print(
            f"{row.dataset:26}{len(row.models):7}{row.queries:6}{row.majority:10.3f}{row.weighted:10.3f}"
            f"{row.best_model:10.3f}{f'{row.gain:+.3f} ± {row.margin:.3f}':>17}  {row.shared}/{row.converse}"
        )
    pooled = {name: _pooled([row for row in rows if row.models == models]) for name, models in GROUPS.items()}
    for name, (gain, margin) in pooled.items():
        print(f"{name}: {gain:+.3f} ± {margin:.3f} over all sets")
    write("fusion", {"rows": [asdict(row) for row in rows], "pooled": pooled})


def _pooled(rows: Sequence[Compared]) -> tuple[float, float]:
    """Mean gain of a query of any of the sets, with half a 95 % interval."""
    queries = sum(row.queries for row in rows)
    gain = sum(row.gain * row.queries for row in rows) / queries
    margin = sum((row.margin * row.queries) ** 2 for row in rows) ** 0.5 / queries
    return gain, margin


def compared() -> Iterator[Compared]:
    for outcomes in read_outcomes(FOLDER / CASCADES):
        for models in (SIBLINGS, LADDER, outcomes.models):
            yield compare(outcomes, models)
    asked = sorted({*GEMMAS, *GPTS})
    for outcomes in read_outcomes(FOLDER / TEXTCLASS, models=asked, prices=dict.fromkeys(asked, (1.0, 1.0))):
        for models in (GEMMAS, GPTS):
            yield compare(outcomes, models)


def compare(outcomes: Outcomes, models: Sequence[str]) -> Compared:
    asked = [outcomes.models.index(model) for model in models]
    calibrates = np.array([blake2b(text.encode()).digest()[0] & 1 for text in outcomes.texts], dtype=bool)
    known, rows = (outcomes.observed.take(np.flatnonzero(part)) for part in (calibrates, ~calibrates))
    answers, correct = rows.answer[:, asked], rows.correct[:, asked]
    whole, held_out = cross_fit_scorer(known)
    by = _calibrated(known, asked, _likely(held_out, known, asked))
    likely = _likely(whole, rows, asked)
    skill = known.correct[:, asked].mean(axis=0)
    plain = np.array([_majority(row, skill) for row in answers])
    weighted = np.array([_weighted(*each, by) for each in zip(answers, likely, strict=True)])
    at = np.arange(len(rows))
    by_majority, by_weight = correct[at, plain], correct[at, weighted]
    gain = by_weight - by_majority
    agreed = (answers == answers[at, plain][:, None]).sum(axis=1) > 1
    return Compared(
        dataset=outcomes.dataset,
        models=tuple(models),
        queries=len(rows),
        majority=float(by_majority.mean()),
        weighted=float(by_weight.mean()),
        best_model=float(correct[:, skill.argmax()].mean()),
        gain=float(gain.mean()),
        margin=float(1.96 * gain.std() / len(gain) ** 0.5),
        shared=int((agreed & (gain > 0)).sum()),
        converse=int((agreed & (gain < 0)).sum()),
    )


def _likely(scorer: Scorer, rows: Observed, asked: Sequence[int]) -> Matrix:
    """[n, m] P(correct) of each answer by what is known of its model, its confidence, its label and the text."""
    return np.clip(np.stack([scorer.score(rows, model) for model in asked], axis=1), SURE, 1 - SURE)


def _calibrated(rows: Observed, asked: Sequence[int], likely: Matrix) -> Combiner:
    """The combiner's weights of P(correct) and of the others' agreement."""
    labelled = [
        Labelled(
            scores={"confidence": float(likely[row, at]), "agreement": _agreement(answers, at)},
            trust=0.5,
            right=bool(rows.correct[row, model]),
        )
        for row, answers in enumerate(rows.answer[:, asked])
        for at, model in enumerate(asked)
        if answers[at] >= 0
    ]
    return calibrate(labelled)


def _agreement(answers: Codes, at: int) -> float:
    others = np.delete(answers, at)
    return float((others[others >= 0] == answers[at]).mean()) if (others >= 0).any() else 0.5


def _majority(answers: Codes, skill: Vector) -> int:
    """The answer that most models give; among equals, that of the model that was right most often."""
    votes = [int((answers == answer).sum()) if answer >= 0 else 0 for answer in answers]
    return int(np.lexsort((skill, votes))[-1])


def _weighted(answers: Codes, likely: Vector, by: Combiner) -> int:
    steps = [_step(*each, by) for each in zip(answers, likely, strict=True)]
    return int(np.argmax(standing(steps)))


def _step(answer: int, likely: float, by: Combiner) -> Step:
    confidence = Vote(judge="confidence", version=1, score=float(likely))
    return Step(
        tier=TierName("t"), call_id=None, answer=Answer(value=str(answer) if answer >= 0 else None), votes=(),
        confidence=combine([confidence], 0.5, by), accepted=False, reason="", agreement=by.of("agreement"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
