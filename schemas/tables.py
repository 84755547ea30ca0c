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
NUMBERS = pa.list_(pa.float64())
FEATURES = pa.list_(pa.float32())

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
        ("forecast_low_usd", USD),  # said at submit from earlier jobs of the task, to hold nine times in ten
        ("forecast_high_usd", USD),
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
        ("reused_from", TEXT),  # the call whose reply it is
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
        ("accept_planned", NUMBERS),
        ("replans", pa.bool_()),  # the rest may be planned again after each answer
        ("tiers_replanned", TEXTS),  # what was planned from here on instead; null: the plan stood
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
        ("score", pa.float64()),  # null: it failed, and the reason says how
        ("reason", TEXT),
        ("form", TEXT),  # how it was asked, where that may sway it: which option stood first
    ]
)

# Append-only: the latest row of a query stands.
FEEDBACK = pa.schema(
    [
        ("job", TEXT),
        ("query_id", TEXT),
        ("label", TEXT),  # null: what was given before is withdrawn
        ("label_source", TEXT),  # gold, human
        ("given_at", TIME),
        ("reviewer", TEXT),  # who; null where nobody said
        (
            "selected_by",
            TEXT,
        ),  # what chose the row: review, or the audit by chance alone; null where nobody knows
        ("score", pa.float64()),  # P(correct) of the answer that stood when it was chosen
        ("reason", TEXT),  # why it was chosen
    ]
)
# What an encoder's endpoint made of a query's text, for routing.
EMBEDDINGS = pa.schema(
    [
        ("job", TEXT),
        ("generation", pa.int32()),
        ("batch", pa.int32()),
        ("query_id", TEXT),
        ("encoder", TEXT),  # its version
        ("vector", FEATURES),  # of length 1; null where there is none
        ("problem", TEXT),  # why there is none
    ]
)
# One row for each answer whose worth is known: the best label of its query grades every answer paid for.
REWARDS = pa.schema(
    [
        ("call_id", TEXT),
        ("job", TEXT),
        ("query_id", TEXT),
        ("tier", TEXT),
        ("model", TEXT),
        ("category", TEXT),
        ("familiar", pa.bool_()),
        ("answer", TEXT),
        ("reward", pa.float64()),  # 0..1
        ("label_source", TEXT),  # gold, human, audit, judges: the best first
        ("weight", pa.float64()),  # what the row counts in a fit
        ("p_labelled", pa.float64()),  # that a row of the job was labelled so; null: someone chose which ones
        ("labelled_at", TIME),
        ("finished_at", TIME),  # of the query
        ("cost_usd", USD),  # of asking this tier for this query, retries included; so are the tokens
        *_TOKENS,
        ("latency_ms", pa.int64()),
        ("score", pa.float64()),  # the tier's own confidence, null where it states none
        ("confidence", pa.float64()),  # P(correct) by the combiner when it was judged
        ("stands", pa.bool_()),  # it is the query's final answer
        ("position", pa.int32()),  # null: asked by the audit
        (
            "tiers_left",
            TEXTS,
        ),  # "TIER MODEL" of the answers that were not believed before this tier was asked
        ("tiers_planned", TEXTS),
        ("accept_planned", NUMBERS),
        ("replans", pa.bool_()),  # the rest of that plan could be planned again after each answer
        ("route", TEXT),
        ("policy_version", TEXT),
        ("propensity", pa.float64()),  # of the whole plan
        ("audited", pa.bool_()),  # every tier was asked, by chance alone: judges versions, trains none
        ("query_key", pa.uint64()),  # a hash of job and query
        ("features", FEATURES),
        ("selected_by", TEXT),  # what chose the row to be labelled: review; null: chance, or nobody knows
        ("selected_score", pa.float64()),  # P(correct) of the answer that stood when it was chosen
    ]
)
# One row for each version ever fitted; which one is promoted stands in `_policies/`.
POLICIES = pa.schema(
    [
        ("policy", TEXT),
        ("version", TEXT),
        ("parents", TEXTS),
        ("rewards", TEXTS),  # keys of the reward files it was fitted on
        ("rows", pa.int64()),  # answers that counted
        ("created_at", TIME),
        ("snapshot", pa.binary()),
    ]
)
# One row for each job that was to be certified: what was promised, on what evidence, or why it was not.
CERTIFICATES = pa.schema(
    [
        ("job", TEXT),
        ("generation", pa.int32()),
        ("certified", pa.bool_()),
        ("pending", pa.bool_()),  # people have yet to label drawn rows
        ("reason", TEXT),  # why it is not certified, and what would change that
        ("target", pa.float64()),  # share of rows that agree with the reference, at least
        ("reference", TEXT),  # gold, human, or a tier
        ("judge", TEXT),  # who told that answers agree; null: equal ones do
        ("judged", pa.int64()),  # pairs of answers it was asked about
        ("unread", pa.int64()),  # of these, without a verdict that could be read; they disagree
        ("alike", TEXTS),  # drawn rows whose answer it found to say the same in other words
        ("confidence", pa.float64()),  # at most 1 - confidence of the certificates issued so are wrong
        ("bound", TEXT),  # the one test, named before the audit was opened
        ("population", pa.int64()),  # rows of the job
        ("pilot", pa.int64()),  # rows drawn to find plans
        ("audited", pa.int64()),  # rows drawn to test them
        (
            "labelled",
            pa.int64(),
        ),  # of these, by people, where they are the reference; what was rejected needs no label
        ("drawn", TEXTS),  # these, where people are to label them: they teach nothing
        ("unavailable", pa.int64()),  # of these, not asked of every tier; they count as disagreeing
        (
            "agreeing",
            pa.int64(),
        ),  # of the audited rows, under the plan; unless people label them, it was selected on this sample
        ("p_value", pa.float64()),  # that the job lies below target + off_plan_allowed
        ("sure", pa.float64()),  # share that the surest plan of the chain agrees on at least
        ("plan", TEXT),  # JSON: all that the frozen plan consists of
        ("chain", TEXT),  # JSON: the plans in the order they were tested, up to the first that did not pass
        ("off_plan", pa.int64()),  # rows that did not end under the plan; they count as disagreeing
        ("off_plan_share", pa.float64()),
        ("off_plan_allowed", pa.float64()),
        ("audit_usd", USD),  # pilot and audit
        ("graded", pa.int64()),  # drawn rows whose gold is known
        ("reference_accuracy", pa.float64()),  # of the reference on these; null: not known
        (
            "repeated",
            pa.int64(),
        ),  # audited rows that the reference was asked about twice, or that two people labelled
        ("self_agreement", pa.float64()),  # of the reference with itself on these; null: not known
        ("accuracy", pa.float64()),  # agreement of all rows, estimated from predictions and audit
        ("accuracy_low", pa.float64()),
        ("accuracy_high", pa.float64()),
        (
            "parts",
            TEXT,
        ),  # JSON: agreement by label, field or category on the audited rows; no bound covers it
        (
            "labels",
            TEXT,
        ),  # JSON: what is certified of each label, or why it is not; null: not asked for
        ("issued_at", TIME),
    ]
)
# One row for each presumed call that came to its true cost after its job had closed: `calls` keeps the charge.
RELEASES = pa.schema(
    [
        ("call_id", TEXT),
        ("job", TEXT),
        ("query_id", TEXT),
        ("tier", TEXT),
        ("model", TEXT),
        ("outcome", TEXT),  # unreachable: not billed; lost: billed, without a reply; else its reply came late
        ("charged_usd", USD),
        ("cost_usd", USD),
        *_TOKENS,  # billed: by the provider's export shared out, dearest calls first
        ("released_at", TIME),
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
    "embeddings": EMBEDDINGS,
    "rewards": REWARDS,
    "policies": POLICIES,
    "certificates": CERTIFICATES,
    "releases": RELEASES,
}
BATCH_TABLES = ("results", "calls", "call_items", "decisions", "votes")  # written as parts by each batch


def usd_column(nanos: Sequence[int]) -> pa.Array:
    """decimal(18,9) USD from integer nano-dollars, without a Decimal per row."""
    words = np.empty((len(nanos), 2), dtype=np.int64)
    words[:, 0] = nanos
    words[:, 1] = words[:, 0] >> 63
    return pa.Array.from_buffers(USD, len(nanos), [None, pa.py_buffer(words)])
