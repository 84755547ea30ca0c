"""A Parquet file of recorded outcomes: what each model answered to each query, and what it cost."""

from decimal import Decimal
from math import ceil
from threading import Lock
from typing import Any

import msgspec

from schemas.errors import InputError
from schemas.money import Usage

_NEEDED = ("dataset", "query_id", "text", "model", "response")
_WHERE_THERE = ("input_tokens", "output_tokens", "cost_usd", "confidence", "latency_s", "output_chars")
BYTES_PER_TOKEN = 4  # where no tokens were recorded, four bytes of UTF-8 count as one


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One model's recorded answer to one query."""

    response: str | None
    usage: Usage  # recorded, or modelled from the lengths of text and response
    cost: int | None  # nano-dollars as recorded, ceiled
    confidence: float | None
    latency_ms: int


class Rows(msgspec.Struct, frozen=True):
    """The outcomes of one model on one dataset. Equal texts: the first row counts."""

    by_text: dict[str, Outcome]
    by_query: dict[str, Outcome]


class OutcomesFile:
    """Reads the rows of a dataset and model once, when first asked; share one between the tiers of a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._rows: dict[tuple[str, str], Rows] = {}
        self._lock = Lock()

    def rows(self, dataset: str, model: str) -> Rows:
        """Raises InputError when the file, the columns or the rows are missing."""
        with self._lock:
            key = (dataset, model)
            if key not in self._rows:
                self._rows[key] = self._load(dataset, model)
            return self._rows[key]

    def _load(self, dataset: str, model: str) -> Rows:
        rows = Rows({}, {})
        for record in self._records(dataset, model):
            outcome = _outcome(record)
            rows.by_text.setdefault(record["text"], outcome)
            rows.by_query.setdefault(record["query_id"], outcome)
        if not rows.by_query:
            raise InputError(path=self.path, why=f"it has no outcome of {model!r} on {dataset!r}")
        return rows

    def _records(self, dataset: str, model: str) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            names = pq.read_schema(self.path).names
            if missing := [name for name in _NEEDED if name not in names]:
                raise InputError(path=self.path, why=f"columns are missing: {', '.join(missing)}")
            columns = [name for name in (*_NEEDED, *_WHERE_THERE) if name in names]
            filters = [("dataset", "=", dataset), ("model", "=", model)]
            records: list[dict[str, Any]] = pq.read_table(
                self.path, columns=columns, filters=filters
            ).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise InputError(path=self.path, why=str(error)) from error
        return records


def _outcome(record: dict[str, Any]) -> Outcome:
    response = record["response"]
    cost = record.get("cost_usd")
    return Outcome(
        response=response,
        usage=Usage(
            input=_tokens(record.get("input_tokens"), len(record["text"].encode())),
            output=_tokens(
                record.get("output_tokens"), record.get("output_chars") or len((response or "").encode())
            ),
        ),
        cost=None if cost is None else ceil(Decimal(repr(cost)).scaleb(9)),
        confidence=record.get("confidence"),
        latency_ms=round((record.get("latency_s") or 0.0) * 1000),
    )


def _tokens(recorded: int | None, length: int) -> int:
    return -(-length // BYTES_PER_TOKEN) if recorded is None else recorded
