"""The Arrow schema of every table of the lake: the truth for Parquet, DuckDB views and the README.

Money is decimal(18,9) USD, made from integer nano-dollars; times are UTC milliseconds; answers that are not
plain text are JSON. `generation` is the closed generation the row is published under, the same in the whole
file; `asked_in` is the generation that produced the row.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

USD = pa.decimal128(18, 9)
TIME = pa.timestamp("ms")
TEXT = pa.string()
TEXTS = pa.list_(pa.string())

_KEY = [("job", TEXT), ("generation", pa.int32()), ("asked_in", pa.int32()), ("batch", pa.int32())]
_QUERY = [*_KEY, ("query_id", TEXT)]
_TOKENS = [
    ("input_tokens", pa.int64()),
    ("cached_input_tokens", pa.int64()),
    ("cache_write_tokens", pa.int64()),
    ("output_tokens", pa.int64()),
    ("reasoning_tokens", pa.int64()),
]

JOBS = pa.schema(
    [
        ("job", TEXT),
        ("generation", pa.int32()),
        ("name", TEXT),
        ("spec_hash", TEXT),
        ("prompt_hash", TEXT),
        ("policy_version", TEXT),
        ("account", TEXT),
        ("cap_usd", USD),
        ("spent_usd", USD),
        ("presumed_usd", USD),
        ("queries", pa.int64()),
        ("answered", pa.int64()),
        ("review", pa.int64()),
        ("deferred", pa.int64()),
        ("cancelled", pa.int64()),
        ("rejected", pa.int64()),
        ("failed", pa.int64()),
        ("stop", TEXT),
        ("created_at", TIME),
        ("closed_at", TIME),
        ("spec", TEXT),
    ]
)

DOCUMENTS = pa.schema(
    [
        ("job", TEXT),
        ("generation", pa.int32()),
        ("query_id", TEXT),
        ("text", TEXT),
        ("gold", TEXT),
        ("fields", TEXT),  # JSON object of the row's other columns
        ("rejected", TEXT),
    ]
)

RESULTS = pa.schema(
    [
        *_QUERY,
        ("status", TEXT),
        ("answer", TEXT),
        ("confidence", pa.float64()),
        ("tier", TEXT),
        ("tiers_asked", TEXTS),
        ("category", TEXT),
        ("route", TEXT),
        ("policy_version", TEXT),
        ("propensity", pa.float64()),
        ("cost_usd", USD),
        *_TOKENS,
        ("latency_ms", pa.int64()),
        ("prompt_hash", TEXT),
        ("reason", TEXT),
        ("finished_at", TIME),
    ]
)

CALLS = pa.schema(
    [
        ("call_id", TEXT),
        *_QUERY,
        ("step", pa.int32()),
        ("purpose", TEXT),
        ("tier", TEXT),
        ("model", TEXT),
        ("lane", TEXT),
        ("sample", pa.int32()),
        ("attempt", pa.int32()),
        ("outcome", TEXT),
        ("finish_reason", TEXT),
        *_TOKENS,
        ("held_usd", USD),
        ("cost_usd", USD),
        ("presumed", pa.bool_()),
        ("latency_ms", pa.int64()),
        ("sent_at", TIME),
        ("request_hash", TEXT),
        ("error", TEXT),
    ]
)

CALL_ITEMS = pa.schema(
    [("call_id", TEXT), *_QUERY, ("position", pa.int32()), ("answer", TEXT), ("cost_usd", USD)]
)

# One row for each tier asked for a query: what was planned, what was decided, and why.
DECISIONS = pa.schema(
    [
        *_QUERY,
        ("step", pa.int32()),
        ("position", pa.int32()),
        ("tier", TEXT),
        ("call_id", TEXT),
        ("answer", TEXT),
        ("confidence", pa.float64()),
        ("accepted", pa.bool_()),
        ("reason", TEXT),
        ("category", TEXT),
        ("category_score", pa.float64()),
        ("category_source", TEXT),
        ("familiar", pa.bool_()),
        ("tiers_planned", TEXTS),
        ("route", TEXT),
        ("policy_version", TEXT),
        ("propensity", pa.float64()),
        ("price_of_money", pa.float64()),
        ("seed", pa.int64()),
    ]
)

VOTES = pa.schema(
    [
        *_QUERY,
        ("step", pa.int32()),
        ("position", pa.int32()),
        ("tier", TEXT),
        ("call_id", TEXT),
        ("judge", TEXT),
        ("version", pa.int32()),
        ("score", pa.float64()),
        ("reason", TEXT),
    ]
)

FEEDBACK = pa.schema(
    [("job", TEXT), ("query_id", TEXT), ("label", TEXT), ("label_source", TEXT), ("given_at", TIME)]
)
REWARDS = pa.schema(
    [
        ("call_id", TEXT),
        ("job", TEXT),
        ("query_id", TEXT),
        ("tier", TEXT),
        ("reward", pa.float64()),
        ("label_source", TEXT),
        ("p_labelled", pa.float64()),
    ]
)
POLICIES = pa.schema(
    [("policy", TEXT), ("version", TEXT), ("parents", TEXTS), ("rewards", TEXTS), ("created_at", TIME)]
)
CERTIFICATES = pa.schema(
    [
        ("job", TEXT),
        ("generation", pa.int32()),
        ("target", pa.float64()),
        ("reference", TEXT),
        ("confidence", pa.float64()),
        ("certified", pa.bool_()),
        ("plan", TEXT),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "jobs": JOBS,
    "documents": DOCUMENTS,
    "results": RESULTS,
    "calls": CALLS,
    "call_items": CALL_ITEMS,
    "decisions": DECISIONS,
    "votes": VOTES,
    "feedback": FEEDBACK,
    "rewards": REWARDS,
    "policies": POLICIES,
    "certificates": CERTIFICATES,
}
BATCH_TABLES = ("results", "calls", "call_items", "decisions", "votes")  # written as parts by each batch


def usd_column(nanos: Sequence[int]) -> pa.Array:
    """decimal(18,9) USD from integer nano-dollars, without a Decimal per row."""
    words = np.empty((len(nanos), 2), dtype=np.int64)
    words[:, 0] = nanos
    words[:, 1] = words[:, 0] >> 63
    return pa.Array.from_buffers(USD, len(nanos), [None, pa.py_buffer(words)])
