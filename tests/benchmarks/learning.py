"""Learning from many rewards: the join of labels and the update of the sums, beside the bare scan of the same columns
plus the bare float32 products, on one core.

`python -m tests.benchmarks.learning` takes a million rows; `--rows 10000000` some minutes and 3 GB of disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from pipeline.features.features import Features
from pipeline.features.hashing import HashingEncoder
from pipeline.learning import fitting
from pipeline.learning.fitting import COLUMNS
from pipeline.learning.source import ROWS, open_source
from schemas.tables import REWARDS, TIME
from tests.benchmarks.figures import summed, write

TIERS, FEATURES, JOBS = 12, 64, 10
BAR = 1.5
PART = 100_000  # rows made at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        pa.set_cpu_count(1)
        paths = [_make(Path(folder), job, given.rows // JOBS) for job in range(JOBS)]
        again = _relabelled(Path(folder), paths[0])
        figures = _measure([*paths, again], Path(folder), given.rows, given.repeats)
    write("learning", figures)


def _measure(paths: list[Path], folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    features = Features(HashingEncoder(dimensions=FEATURES - 3), [])
    taken: dict[str, list[float]] = {"scan": [], "products": [], "learning": []}
    for _ in range(repeats):
        taken["scan"].append(_timed(lambda: _scan(paths)))
        taken["products"].append(_timed(lambda: _products(rows)))
        taken["learning"].append(_timed(lambda: _learn(paths, folder, features)))
    ratios = [
        all_of_it / (scan + products)
        for scan, products, all_of_it in zip(
            *(taken[name] for name in ("scan", "products", "learning")), strict=True
        )
    ]
    figures = {
        "rows": rows, "tiers": TIERS, "features": FEATURES, "precision": "float32, added up in float64",
        "seconds": {name: summed(values, "s", 2) for name, values in taken.items()},
        "ratio": summed(ratios, "times scan and products", 2), "bar": BAR,
    }  # fmt: skip
    for name, values in taken.items():
        print(f"{name:10}{min(values):8.2f} s, {rows / min(values) / 1e6:6.2f} million rows a second")
    print(
        f"ratio {figures['ratio']['median']} (bar {BAR}: {'met' if figures['ratio']['median'] <= BAR else 'missed'})"
    )
    return figures


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _scan(paths: list[Path]) -> None:
    """Every value that learning needs, decoded and dropped."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches(ROWS, columns=list(COLUMNS), use_threads=False):
                pass


def _products(rows: int) -> None:
    """xᵀx of every row, with a column for each tier that had left the query."""
    x = np.random.default_rng(0).random((ROWS, FEATURES + TIERS), dtype=np.float32)
    for start in range(0, rows, ROWS):
        part = x[: min(ROWS, rows - start)]
        part.T @ part


def _learn(paths: list[Path], folder: Path, features: Features) -> None:
    source = open_source("benchmark", [path.name for path in paths], paths, folder)
    fitting.fit(source, features, 1.0)


def _make(folder: Path, job: int, rows: int) -> Path:
    path = folder / f"job{job}.made.parquet"
    random = np.random.default_rng(job)
    with pq.ParquetWriter(path, REWARDS, compression="zstd", compression_level=1) as writer:
        for start in range(0, rows, PART):
            writer.write_table(_rows(random, job, start, min(PART, rows - start)))
    return path


def _rows(random: np.random.Generator, job: int, start: int, count: int) -> pa.Table:
    """Three answers a query."""
    number = np.arange(start, start + count)
    tier = (number % 3) + 3 * (number // 3 % 4)
    values: dict[str, Any] = {
        "call_id": [f"{job}-{each}" for each in number], "query_id": [f"q{each // 3}" for each in number],
        "tier": [f"t{each}" for each in tier], "model": [f"m{each}" for each in tier],
        "tiers_left": [[f"t{each - 1} m{each - 1}"] * int(each % 3 > 0) for each in tier],
        "reward": (random.random(count) < 0.8).astype(np.float64), "confidence": random.random(count),
        "query_key": np.repeat(random.integers(0, 2**63, count // 3 + 1, dtype=np.uint64), 3)[:count],
        "position": tier % 3, "labelled_at": _times(1_000 + job, count), "finished_at": _times(1_000 + job, count),
        "features": _lists(random.random((count, FEATURES), dtype=np.float32)),
    }  # fmt: skip
    same: dict[str, Any] = {
        "job": f"job{job}", "category": "", "familiar": False, "answer": "a", "label_source": "gold", "weight": 1.0,
        "p_labelled": 1.0, "cost_usd": Decimal("0.0001"), "input_tokens": 100, "cached_input_tokens": 0,
        "cache_write_tokens": 0, "output_tokens": 5, "reasoning_tokens": 0, "latency_ms": 20, "score": None,
        "stands": True, "tiers_planned": ["t0"], "accept_planned": [1.0], "replans": False, "route": "ladder",
        "policy_version": "v", "propensity": 1.0, "audited": False,
    }  # fmt: skip
    columns = [
        pa.array(values[field.name], field.type) if field.name in values
        else pa.repeat(pa.scalar(same[field.name], field.type), count)
        for field in REWARDS
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=REWARDS)


def _relabelled(folder: Path, path: Path) -> Path:
    """A tenth of a job's answers, whose labels came later: what the join must sort out."""
    table = pq.read_table(path).slice(0, max(3, pq.read_metadata(path).num_rows // 10))
    place = table.schema.get_field_index("labelled_at")
    written = folder / "job0.again.parquet"
    pq.write_table(
        table.set_column(place, "labelled_at", _times(9_000, len(table))), written, compression="zstd"
    )
    return written


def _times(unix_ms: int, count: int) -> pa.Array:
    return pa.array(np.full(count, unix_ms)).cast(TIME)


def _lists(matrix: np.ndarray[Any, np.dtype[np.float32]]) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()))


if __name__ == "__main__":
    main()
