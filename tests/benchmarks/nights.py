"""Ten nights of new documents under a student and a dear tier: what each night costs, and how right it is.

`python -m tests.benchmarks.nights [CORPUS …]` prints a table per corpus and writes build/figures/nights.json.

The dear tier is simulated, a fixed function of the text: of label k it answers k with P = .95 (by a hash of the text),
else the one label that k is most often taken for, the nearest by the cosine of the labels' mean TF-IDF vectors. Its
confusion matrix thus has .95 on the diagonal and .05 at one place of each row. It states no confidence. Nights are
disjoint and split by cluster (texts equal but for case, spacing and punctuation); history is off, so that what gets
cheaper is the student's doing. The ledger, the lake, the prices and the meter are those of a real job over HTTP.

Each night asks for a certificate: agreement with the dear tier of .95 or more, at confidence .95. A student is taught
when a night closes, so it is frozen before the next night's rows are drawn, and drawn rows teach no student. What pilot
and audit cost is part of the night's bill.
"""

import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.replay.splits import clusters_of
from tests.benchmarks.figures import FOLDER, write
from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.upstream.client import start_upstream
from tests.upstream.config import config_from

NIGHTS, RIGHT, ACCEPT = 10, 0.95, 0.95
QUALITY = {"target": 0.95, "reference": "dear", "confidence": 0.95, "pilot": 50, "audit": 250}
MODEL, PRICE = "dear", {"input": "2", "output": "8"}
CORPORA = ("banking77", "clinc150")


def main(corpora: list[str]) -> None:
    figures = {}
    for corpus in corpora:
        print(f"\n{corpus}")
        print(
            f"{'night':>5} {'queries':>8} {'student':>8} {'certified':>10} {'agreement':>10} {'gold':>6} "
            f"{'audit':>9} {'cost':>9}"
        )
        rows = figures[corpus] = list(map(_shown, nights(corpus)))
        late = sum(row["cost_per_query"] for row in rows[5:]) / 5 / rows[0]["cost_per_query"]
        print(f"nights 6 to 10 cost {late:.0%} of night 1, per query")
    write("nights", figures)
    path = FOLDER / "nights.svg"
    path.write_text(plot(figures), encoding="utf-8")
    print(f"wrote {path}")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    print(
        f"{row['night']:>5} {row['queries']:>8} {row['student']:>8.3f} {row['certified']!s:>10} "
        f"{row['agreement']:>10.3f} {row['gold']:>6.3f} ${row['audit_usd']:>8.4f} ${row['cost_usd']:>8.4f}",
        flush=True,
    )
    return row


def nights(corpus: str) -> Iterator[dict[str, Any]]:
    table = pq.read_table(data_file(f"corpus_{corpus}.parquet"))
    texts, gold = table["text"].to_pylist(), table["label"].to_pylist()
    said = answers(texts, gold)
    night_of = np.array([_draw(f"night {each}") for each in clusters_of(texts)]) * NIGHTS // 1
    with tempfile.TemporaryDirectory(prefix="tierwise-nights-") as folder:
        place = Tierwise(folder=Path(folder))
        outcomes = place.folder / "outcomes.parquet"
        columns = {
            "dataset": [corpus] * len(texts),
            "text": texts,
            "model": [MODEL] * len(texts),
            "response": said,
        }
        pq.write_table(pa.table(columns), outcomes)
        config = {"outcomes": str(outcomes), "models": [MODEL], "prices": {MODEL: PRICE}}
        with start_upstream(config_from(config)) as upstream:
            for night in range(NIGHTS):
                rows = np.flatnonzero(night_of == night)
                yield _night(place, upstream.url, night + 1, table, said, rows)


def answers(texts: list[str], gold: list[str]) -> list[str]:
    """What the simulated tier says of each text."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = sorted(set(gold))
    features = TfidfVectorizer().fit_transform(texts)
    means = np.stack(
        [np.asarray(features[[each == name for each in gold]].mean(axis=0))[0] for name in names]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    likeness = means @ means.T - 2 * np.eye(len(names))
    taken_for = dict(zip(names, (names[at] for at in likeness.argmax(axis=1)), strict=True))
    return [
        label if _draw(f"right {text}") < RIGHT else taken_for[label]
        for text, label in zip(texts, gold, strict=True)
    ]


def _draw(key: str) -> float:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) / 2**64


def _night(
    place: Tierwise, url: str, night: int, table: pa.Table, said: list[str], rows: np.ndarray[Any, Any]
) -> dict[str, Any]:
    documents = pa.table(
        {
            "id": [str(row) for row in rows], "text": table["text"].take(rows), "gold": table["label"].take(rows),
        }
    )  # fmt: skip
    pq.write_table(documents, place.folder / f"night-{night}.parquet")
    name = f"night-{night}"
    spec = {
        "name": "nights",
        "task": {
            "kind": "classify", "instructions": "Which intent is it?", "labels": pc.unique(table["label"]).to_pylist(),
        },
        "input": {"path": f"night-{night}.parquet", "id": "id", "gold": "gold"},
        "tiers": [
            {"name": "student", "provider": "student", "accept": ACCEPT},
            {
                "name": MODEL, "provider": "openai", "model": MODEL, "base_url": url, "api_key_env": None,
                "price": PRICE, "structured": "none", "trust": RIGHT,
            },
        ],
        "budget": {"usd": "100"},
        "quality": QUALITY,
        "history": "none",
    }  # fmt: skip
    summary = tierwise(place, "run", write_spec(place, spec), "--job", name, "--json", code=None).json()
    results = place.rows(f"SELECT query_id, answer, tier FROM results WHERE job = '{name}'")
    known = {str(row): (said[row], table["label"][row].as_py()) for row in rows.tolist()}
    count, cost = len(results), float(summary["cost_usd"])
    return {
        "night": night,
        "queries": count,
        "student": sum(row["tier"] == "student" for row in results) / count,
        "agreement": sum(row["answer"] == known[row["query_id"]][0] for row in results) / count,
        "gold": sum(row["answer"] == known[row["query_id"]][1] for row in results) / count,
        "certified": summary["certificate"]["certified"],
        "audit_usd": float(summary["certificate"]["audit_usd"]),
        "cost_usd": cost,
        "cost_per_query": cost / count,
    }


def plot(figures: dict[str, list[dict[str, Any]]]) -> str:
    """One panel a corpus: bars are cost per query as a share of night 1, lines agreement and gold accuracy, .9 to 1."""
    panels = [_panel(corpus, rows, 220 * number) for number, (corpus, rows) in enumerate(figures.items())]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{220 * len(panels)}"'
    return f'{head} font-family="sans-serif" font-size="11">{"".join(panels)}</svg>\n'


def _panel(corpus: str, rows: list[dict[str, Any]], top: int) -> str:
    drawn = [f'<text x="40" y="{top + 16}">{corpus}: cost (bars), agreement (black), gold (orange)</text>']
    for row in rows:
        height = 160 * row["cost_per_query"] / rows[0]["cost_per_query"]
        x, y = 46 * row["night"], top + 190 - height
        drawn.append(f'<rect x="{x}" y="{y:.1f}" width="30" height="{height:.1f}" fill="#c9d8e8"/>')
        drawn.append(f'<text x="{x + 10}" y="{top + 206}">{row["night"]}</text>')
    for name, colour in (("agreement", "black"), ("gold", "#d07a1f")):
        points = " ".join(
            f"{46 * row['night'] + 15},{top + 190 - 1600 * (row[name] - 0.9):.1f}" for row in rows
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for level in (0.9, 0.95, 1.0):
        drawn.append(f'<text x="8" y="{top + 194 - 1600 * (level - 0.9):.1f}">{level:.2f}</text>')
    return "".join(drawn)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CORPORA))
