"""textclass: five models on four sets of labels, against always asking gpt-4.1.

Table A: nothing but the fitting folds. Table B: policy_en with a student trained on gold labels of other texts, as the
cheapest tier. No cost was recorded: list prices at stated lengths. All five models charge four times as much for
output as for input, so every ratio of costs is the same whatever the lengths.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.replay.curves import interval, resampled
from pipeline.replay.figures import figures
from pipeline.replay.outcomes import Lengths, Outcomes, read_outcomes, read_prices
from pipeline.replay.replay import Replayed, replay
from pipeline.router.observed import Tried
from tests.data import FOLDER

FILE = FOLDER / "outcomes_textclass_en.parquet"
GOLD = FOLDER / "corpus_uk_acts_policy.parquet"
MODELS = (
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o-mini-2024-07-18",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-2025-04-14",
    "gpt-4o-2024-08-06",
)
DEAR = "gpt-4.1-2025-04-14"
BINARY = ("textclass/env_claims_en", "textclass/sust_finance_en", "textclass/technology_en")
POLICY = "textclass/policy_en"
LENGTHS = Lengths(prompt=200, output=10)
TARGET = 0.99  # of gpt-4.1's accuracy; what is judged is how far below it the answer is
STUDENT, STUDENT_USD = "student", 1e-7  # a query: a millisecond of a CPU at $0.36 an hour
TAUGHT = "policy_en with the student"
BARS = {
    **dict.fromkeys(BINARY, (5.0, -2.0)),
    TAUGHT: (10.0, 0.0),
}  # times cheaper, points over the dear model


def measure(repeats: int) -> dict[str, Any]:
    sets = {
        each.dataset: replay(each, None, target=TARGET, reference=DEAR, repeats=repeats)
        for each in outcomes()
    }
    taught = replay(with_student(policy()), None, target=1.0, reference=DEAR, repeats=repeats)
    found = {
        "lengths": {"prompt_tokens": LENGTHS.prompt, "output_tokens": LENGTHS.output},
        "A": {name: _against_dear(one) for name, one in sets.items()},
        "B": _against_dear(taught),
        "sets": {name: figures(one, TARGET) for name, one in sets.items()} | {"B": figures(taught, 1.0)},
    }
    _print(found, repeats)
    return found


def outcomes(
    models: tuple[str, ...] = MODELS, datasets: tuple[str, ...] = (*BINARY, POLICY)
) -> list[Outcomes]:
    prices = read_prices(FOLDER / "prices.csv") | {"gpt-4o": (2.5, 10.0)}  # the dated model's own price
    return read_outcomes(FILE, models=models, datasets=datasets, prices=prices, lengths=LENGTHS)


def policy() -> Outcomes:
    return outcomes(datasets=(POLICY,))[0]


def with_student(one: Outcomes) -> Outcomes:
    """The outcomes with one more tier in front: TF-IDF and logistic regression, taught on gold labels of other texts.

    It answers as a tier and its probability is its confidence; it judges nobody else's answer.
    """
    said, sure = _student(one.texts)
    codes = {answer: code for code, answer in enumerate(sorted({*said, *_gold().values()}))}
    right = np.array([_gold()[text] == answer for text, answer in zip(one.texts, said, strict=True)])
    rows, count = one.observed, len(one.texts)
    first = int(rows.answer.max()) + 1  # its answers are compared with nobody's
    observed = replace(
        rows,
        correct=np.column_stack([right.astype(np.float64), rows.correct]),
        cost=np.column_stack([np.full(count, STUDENT_USD), rows.cost]),
        score=np.column_stack([sure, rows.score]),
        answer=np.column_stack([[first + codes[answer] for answer in said], rows.answer]),
    )
    return replace(one, models=(STUDENT, *one.models), observed=observed)


def _student(texts: tuple[str, ...]) -> tuple[list[str], Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    corpus = pq.read_table(GOLD).to_pydict()
    student = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        LogisticRegression(C=10, max_iter=500),
    )
    student.fit(corpus["text"], corpus["label"])
    chances = student.predict_proba(list(texts))
    return [str(student.classes_[best]) for best in chances.argmax(axis=1)], chances.max(axis=1)


def _gold() -> dict[str, str]:
    rows = pq.read_table(FILE, columns=["dataset", "text", "gold"], filters=[("dataset", "=", POLICY)])
    return dict(zip(rows["text"].to_pylist(), rows["gold"].to_pylist(), strict=True))


def _against_dear(one: Replayed) -> dict[str, Any]:
    dear = one.singles[DEAR]
    everyone = {**{name: played.point for name, played in one.methods.items()}, **one.singles}
    cheapest = min(float(tried.cost.mean()) for tried in one.singles.values())
    return {
        "queries": one.queries,
        "most_times_cheaper": float(dear.cost.mean()) / cheapest,
        "chosen": one.chosen,
        "methods": {name: _difference(one, tried, dear) for name, tried in everyone.items()},
    }


def _difference(one: Replayed, tried: Tried, dear: Tried) -> dict[str, float]:
    """Points over always asking the dear model, with the paired 95 % lower bound, and times cheaper."""
    drawn = 100 * (resampled(one.clusters) @ (tried.correct - dear.correct))
    return {
        "accuracy": float(tried.correct.mean()),
        "points": float(100 * (tried.correct - dear.correct).mean()),
        "lower_bound": interval(drawn, 0.9)[0],
        "times_cheaper": float(dear.cost.mean() / tried.cost.mean()),
    }


def _print(found: dict[str, Any], repeats: int) -> None:
    print(f"\ntextclass, {repeats} repeats of five folds, list prices at {LENGTHS}: against always {DEAR}")
    for name, one in {**found["A"], TAUGHT: found["B"]}.items():
        most = f"{one['most_times_cheaper']:,.1f}×"
        print(f"\n{name}, {one['queries']} queries; no plan of these tiers is over {most} cheaper")
        for method, each in one["methods"].items():
            print(
                f"  {method:26}{each['accuracy']:.3f}  {each['points']:+5.1f} points "
                f"(lower bound {each['lower_bound']:+.1f})  {each['times_cheaper']:6.1f}×"
            )
        print(f"  chosen: {one['chosen']}; {_verdict(BARS.get(name), one['methods'][one['chosen']])}")


def _verdict(bar: tuple[float, float] | None, chosen: dict[str, float]) -> str:
    if bar is None:
        return "no bar"
    met = chosen["times_cheaper"] >= bar[0] and chosen["lower_bound"] > bar[1]
    return (
        f"at least {bar[0]:.0f}× with a lower bound above {bar[1]:+.0f} points: {'met' if met else 'missed'}"
    )
