"""Job specs over recorded outcomes, for tests and benchmarks: documents, labels, tiers, modelled prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# USD per million tokens, as in prices.csv; the outcomes record none.
PRICES = {
    "gpt-4.1-nano-2025-04-14": {"input": "0.1", "output": "0.4"},
    "gpt-4o-mini-2024-07-18": {"input": "0.15", "output": "0.6"},
    "gpt-4.1-2025-04-14": {"input": "2", "output": "8"},
}
LADDER = {
    "nano": "gpt-4.1-nano-2025-04-14",
    "mini": "gpt-4o-mini-2024-07-18",
    "large": "gpt-4.1-2025-04-14",
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One dataset of an outcomes file, ready to run."""

    documents: Path  # Parquet: query_id, text, gold
    labels: list[str]
    rows: int


def recorded(
    outcomes: Path, dataset: str, folder: Path, models: Sequence[str] = tuple(LADDER.values())
) -> Recorded:
    """The documents that every model of the ladder has answered, written where a job can read them."""
    table = pq.read_table(outcomes, filters=[("dataset", "=", dataset), ("model", "in", list(models))])
    counted = table.group_by("query_id").aggregate([("model", "count_distinct")])
    whole = counted.filter(pc.equal(counted["model_count_distinct"], len(models)))["query_id"]
    chosen = table.filter(pc.equal(table["model"], models[0]))
    chosen = chosen.filter(pc.is_in(chosen["query_id"], value_set=whole.combine_chunks()))
    documents = folder / f"{dataset.rsplit('/', 1)[-1]}.parquet"
    pq.write_table(chosen.select(["query_id", "text", "gold"]), documents)
    labels = sorted(set(chosen["gold"].to_pylist()))
    return Recorded(documents=documents, labels=labels, rows=chosen.num_rows)


def ladder_spec(
    source: Recorded, url: str, *, name: str = "recorded", usd: str = "20", **more: Any
) -> dict[str, Any]:
    """The fixed ladder over HTTP; without recorded confidence the tiers' agreement decides."""
    tiers = [
        {
            "name": tier, "provider": "openai", "model": model, "base_url": url, "api_key_env": None,
            "price": PRICES[model], "structured": "none", "accept": accept, "trust": 0.6,
        }
        for (tier, model), accept in zip(LADDER.items(), (0.9, 0.8, 0.0), strict=True)
    ]  # fmt: skip
    return {
        "version": 1,
        "name": name,
        "task": {"kind": "classify", "instructions": "Classify the text.", "labels": source.labels},
        "input": {
            "path": str(source.documents), "id": "query_id", "text": "text", "gold": "gold",
            "batch": {"rows": 100},
        },
        "tiers": tiers,
        "budget": {"usd": usd},
        "history": "none",  # several jobs of a test ask the same
        **more,
    }  # fmt: skip


def model_tiers(
    url: str, prices: Mapping[str, dict[str, str]], names: Sequence[str], **more: Any
) -> list[dict[str, Any]]:
    """A tier for each model, of its name, in this order."""
    return [
        {
            "name": name, "provider": "openai", "model": name, "base_url": url, "api_key_env": None,
            "price": prices[name], **more,
        }
        for name in names
    ]  # fmt: skip


def write_documents(path: Path, texts: list[str], gold: list[str] | None = None) -> Path:
    ids = [f"q{number}" for number in range(len(texts))]
    columns = {"id": ids, "text": texts}
    if gold is not None:
        columns["gold"] = gold
    pq.write_table(pa.table(columns), path)
    return path
