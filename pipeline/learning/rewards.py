"""What a job's answers were worth: its tables joined with every label there is, one row for each answer paid for."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.features.stored import packed
from pipeline.learning.learner import Learner
from pipeline.ports.storage import Storage
from pipeline.router.statistics import Matrix32
from pipeline.storage.final import Part, fetch_parts, scratch
from pipeline.storage.merge import connect, explained, view
from pipeline.storage.sql import named
from schemas import lake
from schemas.ids import JobId, QueryId
from schemas.records import Assignment, Query
from schemas.tables import FEATURES, REWARDS, TABLES

READ = ("results", "calls", "call_items", "decisions", "votes", "documents")
JUDGES_WEIGHT = 0.1  # of what only judges say: ten such rows count as much as one label
_CHUNK = 8192  # rows that are encoded at a time


async def reward_files(storage: Storage, scope: str, job: JobId | None = None) -> list[str]:
    """Keys, of all jobs or of one."""
    keys = await storage.list(lake.rewards(scope))
    return [key for key in keys if job is None or lake.rewarded_job(key) == job]


def final_tables(job: JobId) -> dict[str, list[Part]]:
    """Of a closed job, as `grade` takes them."""
    return {name: [lake.final(name, job)] for name in READ}


async def grade(learner: Learner, tables: Mapping[str, Sequence[Part]]) -> str | None:
    """Write what is news as one more object, named by its content; its key, None where nothing is. `tables`: the
    files of the job's tables, final or of the batches committed so far. Done twice, or by two at once, it gives
    the same rows."""
    storage = learner.storage
    async with scratch(storage) as folder:
        found = {name: await fetch_parts(storage, tables[name], folder) for name in READ}
        found["feedback"] = await fetch_parts(storage, await storage.list(lake.feedback(learner.job)), folder)
        found["embeddings"] = await fetch_parts(
            storage, await storage.list(lake.embeddings(learner.job)), folder
        )
        found["certificates"] = await fetch_parts(
            storage, await storage.list(lake.certificates(learner.job)), folder
        )
        known = await reward_files(storage, learner.scope, learner.job)
        found["rewards"] = await fetch_parts(storage, known, folder)
        target = folder / "rewards.parquet"
        if not await asyncio.to_thread(_write, storage.uri, learner, found, target):
            return None
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        key = lake.reward(learner.scope, learner.job, digest)
        await storage.publish(key, target)
        return key


def _write(uri: str, learner: Learner, found: Mapping[str, list[Path]], target: Path) -> int:
    statements = named((files("pipeline.learning") / "rewards.sql").read_text(encoding="utf-8"))
    count = 0
    with explained(uri), closing(connect(target.parent)) as connection:
        for name, paths in found.items():
            view(connection, name, paths, TABLES[name], target.parent)
        connection.execute("CREATE VIEW known AS FROM rewards")
        connection.execute(statements["labels"], {"reference": learner.reference})
        connection.execute(statements["answers"])
        connection.execute(statements["vectors"], {"encoder": learner.features.encoder.version})
        rows = connection.sql(statements["rewards"], params={"judges_weight": JUDGES_WEIGHT})
        with pq.ParquetWriter(target, REWARDS, compression="zstd", compression_level=1) as writer:
            for batch in rows.to_arrow_reader(_CHUNK):
                writer.write_table(_encoded(learner, batch))
                count += batch.num_rows
    return count


def _encoded(learner: Learner, batch: pa.RecordBatch) -> pa.Table:
    ids = batch["query_id"].to_pylist()
    made: dict[str, Any] = {
        "job": pa.repeat(pa.scalar(learner.job), batch.num_rows),
        "query_key": query_keys(learner.job, ids),
        "features": _lists(_features(learner, batch)),
    }
    arrays = [
        pa.array(made[field.name], field.type) if field.name in made else batch[field.name].cast(field.type)
        for field in REWARDS
    ]
    return pa.Table.from_arrays(arrays, schema=REWARDS)


def _features(learner: Learner, batch: pa.RecordBatch) -> Matrix32:
    """[rows, d]; a query that several tiers answered is encoded once."""
    query: NDArray[np.int32] = batch["query_id"].dictionary_encode().indices.to_numpy()
    _, first = np.unique(query, return_index=True)
    asked = batch.select(["text", "category", "category_score", "vector"]).take(pa.array(first))
    queries = [
        Query(query_id=QueryId(""), text=text, vector=vector)
        for text, vector in zip(asked["text"].to_pylist(), packed(asked["vector"]), strict=True)
    ]
    assigned = [
        Assignment(category=each["category"], score=each["category_score"], familiar=False, source="none")
        for each in asked.select(["category", "category_score"]).to_pylist()
    ]
    return learner.features.matrix(queries, assigned)[query]


def query_keys(job: JobId, queries: Sequence[str]) -> NDArray[np.uint64]:
    """The same query of the same job has the same key for ever; keys are uniform."""
    digests = [hashlib.blake2b(f"{job}\0{name}".encode(), digest_size=8).digest() for name in queries]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _lists(matrix: Matrix32) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()), type=FEATURES)
