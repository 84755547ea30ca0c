"""The reward files of a scope, opened: whose they are, and which of their rows count."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.storage.merge import connect, explained
from pipeline.storage.sql import escape_glob, named, quote
from schemas import lake
from schemas.ids import TierName

if TYPE_CHECKING:
    import duckdb

ROWS = 1 << 17  # read at a time
NAMES = ["tier", "model", "category", "label_source"]  # few, and often the same
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    paths: Sequence[Path]
    arms: tuple[TierName, ...]  # "TIER MODEL": a tier that asks another model is another one
    jobs: list[list[int]]  # numbers of their files, one list for each job, the oldest first
    superseded: dict[int, NDArray[np.intp]]  # file -> places of rows that gave way to another

    def batches(
        self, job: Sequence[int], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[pa.RecordBatch, Bools]]:
        """The rows of a job, some thousands at a time, and which of them count. Names come as dictionaries."""
        for file in job:
            counts = np.ones(pq.read_metadata(self.paths[file]).num_rows, dtype=np.bool_)
            counts[self.superseded.get(file, [])] = False
            start = 0
            with pq.ParquetFile(self.paths[file], read_dictionary=NAMES) as opened:
                for batch in opened.iter_batches(ROWS, columns=columns, use_threads=False):
                    yield batch, counts[start : start + batch.num_rows]
                    start += batch.num_rows


def open_source(uri: str, keys: Sequence[str], paths: Sequence[Path], folder: Path) -> Source:
    """`paths`: where the objects of these keys lie; `folder`: scratch."""
    jobs: dict[str, list[int]] = {}
    for file, key in enumerate(keys):
        jobs.setdefault(lake.rewarded_job(key), []).append(file)
    since = {job: (min(_since(paths[file]) for file in held), job) for job, held in jobs.items()}
    disputed = [paths[file] for held in jobs.values() if len(held) > 1 for file in held]
    statements = _statements()
    with open_rewards(uri, paths, folder) as connection:
        arms = [TierName(arm) for (arm,) in connection.execute(statements["arms"]).fetchall()]
        superseded = _superseded(connection, statements["superseded"], disputed) if disputed else {}
    number = {str(path): file for file, path in enumerate(paths)}
    return Source(
        paths=paths,
        arms=tuple(arms),
        jobs=[jobs[job] for job in sorted(jobs, key=since.__getitem__)],
        superseded={number[path]: places for path, places in superseded.items()},
    )


@contextmanager
def open_rewards(uri: str, paths: Sequence[Path], folder: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection with all of them as `rewards`. `folder`: scratch."""
    with explained(uri), closing(connect(folder)) as connection:
        connection.execute(_statements()["rewards"].format(files=_listed(paths)))
        yield connection


def _statements() -> dict[str, str]:
    return named((files("pipeline.learning") / "source.sql").read_text(encoding="utf-8"))


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(quote(escape_glob(str(path))) for path in paths)


def _superseded(
    connection: "duckdb.DuckDBPyConnection", sql: str, paths: Sequence[Path]
) -> dict[str, NDArray[np.intp]]:
    found = connection.execute(sql.format(files=_listed(paths))).fetchnumpy()
    names = found["filename"].astype(str)
    return {str(name): found["place"][names == name].astype(np.intp) for name in np.unique(names)}


def _since(path: Path) -> datetime:
    """When the first query in a file was answered, from its footer."""
    footer = pq.read_metadata(path)
    column = next(at for at in range(footer.num_columns) if footer.schema.column(at).path == "finished_at")
    groups = (footer.row_group(number).column(column) for number in range(footer.num_row_groups))
    earliest: datetime = min(group.statistics.min for group in groups)
    return earliest
