"""The Arrow schema of every table of the lake: the truth for Parquet, DuckDB views and `tierwise schema --tables`.

Money is decimal(18,9) USD, made from integer nano-dollars; times are UTC milliseconds; answers that are not
plain text are JSON. Each table and column has its comment here, once; `describe` reads it.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

VERSION = (
    1  # of what follows; one more where a column is renamed, retyped or dropped, never where one is added
)
USD = pa.decimal128(18, 9)
TIME = pa.timestamp("ms")
TEXT = pa.string()
TEXTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.float64())
FEATURES = pa.list_(pa.float32())
INT, LONG, REAL, BOOL = pa.int32(), pa.int64(), pa.float64(), pa.bool_()

Column = tuple[str, pa.DataType, str]


def _table(comment: str, *columns: Column) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"comment": said}) for name, kind, said in columns]
    return pa.schema(fields, metadata={"comment": comment})


def describe(of: pa.Schema | pa.Field) -> str:
    """The comment of a table or a column."""
    return str((of.metadata or {}).get(b"comment", b"").decode())


_JOB: Column = ("job", TEXT, "the job's id")
_QUERY_ID: Column = ("query_id", TEXT, "the document's id, unique in its job")
_GENERATION: Column = (
    "generation",
    INT,
    "closed generation it is published under, the same in the whole job",
)
_BATCH: Column = ("batch", INT, "number of the batch in its generation, from 0")
_QUERY: list[Column] = [
    _JOB,
    _GENERATION,
    ("asked_in", INT, "generation that produced the row"),
    _BATCH,
    _QUERY_ID,
]
_TOKENS: list[Column] = [
    ("input_tokens", LONG, "input tokens at the full price"),
    ("cached_input_tokens", LONG, "input tokens read from the provider's prompt cache"),
    ("cache_write_tokens", LONG, "input tokens written to the provider's prompt cache"),
    ("output_tokens", LONG, "output tokens without reasoning"),
    ("reasoning_tokens", LONG, "output tokens spent on reasoning"),
]
_TIER: Column = ("tier", TEXT, "name of the tier in the spec")
_MODEL: Column = ("model", TEXT, "the provider's name of the model")
_CALL: Column = ("call_id", TEXT, "the call, as in `calls`")
_STEP: Column = ("step", INT, "step of the job; 0 where it has one")
_PROMPT: Column = ("prompt_hash", TEXT, "hash of task, labels and prompt: equal where jobs ask the same")
_ROUTING: list[Column] = [
    ("route", TEXT, "what made the plan: rule, taxonomy, learned, explore, student or ladder"),
    ("policy_version", TEXT, "version of the policy that made the plan"),
    ("propensity", REAL, "probability with which the whole plan was chosen; null: not known"),
]
_PLANNED: list[Column] = [
    ("tiers_planned", TEXTS, "tiers of the plan, in the order they would be asked"),
    ("accept_planned", NUMBERS, "P(correct) from which the tier at the same place is believed"),
    ("replans", BOOL, "the rest of the plan may be planned again after each answer"),
]

JOBS = _table(
    "One row per closed job: cap, spend, how many queries ended in which status, the spec.",
    _JOB,
    ("generation", INT, "its latest closed generation: 1, and one more with each resume"),
    ("name", TEXT, "name in the spec"),
    ("spec_hash", TEXT, "hash of the spec"),
    _PROMPT,
    ("policy_version", TEXT, "version of the policy that it began with"),
    ("account", TEXT, "the ledger's account that paid"),
    ("cap_usd", USD, "the most it may spend"),
    ("spent_usd", USD, "what it spent, presumed calls included"),
    ("presumed_usd", USD, "the part of it whose calls have an unknown outcome, charged in full"),
    ("forecast_low_usd", USD, "lower end of the forecast at submit, to hold nine times in ten; null: none"),
    ("forecast_high_usd", USD, "its upper end"),
    ("queries", LONG, "rows of the input"),
    ("answered", LONG, "queries with an accepted answer"),
    ("review", LONG, "queries that no tier and judge settled, for people"),
    ("deferred", LONG, "queries left for a resume: money or a tier was missing"),
    ("cancelled", LONG, "queries left when the job was cancelled"),
    ("rejected", LONG, "rows that could not be asked"),
    ("failed", LONG, "queries without a valid answer"),
    ("stop", TEXT, "why it stopped early: cancelled, over_hold, infeasible; null: it did not"),
    ("schedule", TEXT, "the schedule whose occurrence it ran; null: submitted by hand"),
    ("scheduled_at", TIME, "when that occurrence was due"),
    ("created_at", TIME, "when it was submitted"),
    ("closed_at", TIME, "when its latest generation closed"),
    ("spec", TEXT, "JSON: the spec as it ran"),
)

DOCUMENTS = _table(
    "The documents that were asked about.",
    _JOB,
    _GENERATION,
    _QUERY_ID,
    ("text", TEXT, "the document as read, unmasked"),
    ("gold", TEXT, "the known right answer, where the input has it; never shown to a tier"),
    ("fields", TEXT, "JSON object of the row's other columns"),
    ("rejected", TEXT, "why the row could not be asked; null: it could"),
)

RESULTS = _table(
    "The one final row of each query.",
    *_QUERY,
    ("status", TEXT, "answered, review, deferred, cancelled, rejected or failed"),
    ("answer", TEXT, "the answer that stands, JSON where it is no plain text; null: none"),
    ("confidence", REAL, "P(correct) of the answer, by the judges"),
    ("tier", TEXT, "tier whose answer stands; null: none"),
    ("tiers_asked", TEXTS, "tiers that were called, in order"),
    ("category", TEXT, "path in the routing taxonomy; empty: the root"),
    *_ROUTING,
    ("cost_usd", USD, "of all the calls made for it"),
    *_TOKENS,
    ("latency_ms", LONG, "of its steps, one after the other"),
    _PROMPT,
    ("reason", TEXT, "why it ended so"),
    ("finished_at", TIME, "when it ended"),
)

CALLS = _table(
    "Each request to a tier: what it was for, what became of it, what it cost.",
    ("call_id", TEXT, "the call's id"),
    *_QUERY,
    _STEP,
    ("purpose", TEXT, "answer, judge, taxonomy, audit or embed"),
    _TIER,
    _MODEL,
    ("lane", TEXT, "realtime; batch; local: in this process, never held or billed"),
    ("sample", INT, "number of the sample where a tier is asked the same several times, from 0"),
    ("attempt", INT, "number of the attempt, from 1"),
    (
        "outcome",
        TEXT,
        "ok, truncated, malformed, refused, reused, rate_limited, rejected, unreachable, presumed, lost",
    ),
    ("finish_reason", TEXT, "stop, length, refusal, content_filter, malformed, or empty"),
    *_TOKENS,
    ("held_usd", USD, "set aside before it was sent: the most it could cost"),
    ("cost_usd", USD, "charged"),
    ("presumed", BOOL, "sent, outcome unknown, charged in full"),
    ("latency_ms", LONG, "from sending to the whole reply"),
    ("sent_at", TIME, "when it was sent"),
    ("request_hash", TEXT, "hash of the request, byte for byte"),
    ("reused_from", TEXT, "call whose reply it is, at no cost; null: it was sent"),
    ("error", TEXT, "what went wrong; empty: nothing"),
)

CALL_ITEMS = _table(
    "Which queries a call carried, with each one's answer and share of the cost.",
    _CALL,
    *_QUERY,
    ("position", INT, "place of the query in the call, from 0"),
    ("answer", TEXT, "what the reply says for it; null: nothing valid"),
    ("cost_usd", USD, "its share of the call's cost"),
    ("confidence", REAL, "the tier's own confidence in its answer, 0 to 1; null: it states none"),
)

DECISIONS = _table(
    "Each tier asked for a query: what was planned, what was decided, why.",
    *_QUERY,
    _STEP,
    ("position", INT, "place of the tier in the query's walk, from 0"),
    _TIER,
    ("call_id", TEXT, "the call whose reply was read; null: no call came about"),
    ("answer", TEXT, "what the tier said; null: nothing valid"),
    ("confidence", REAL, "P(correct) of it, by the judges"),
    ("accepted", BOOL, "it was believed; else the next tier was asked"),
    ("reason", TEXT, "why it was believed or not"),
    ("category", TEXT, "path in the routing taxonomy; empty: the root"),
    ("category_score", REAL, "how well the category fits, 0 to 1"),
    ("category_source", TEXT, "what found the category: rule, fast, slow or none"),
    ("familiar", BOOL, "one category was clear of the rest"),
    *_PLANNED,
    ("tiers_replanned", TEXTS, "what was planned from here on instead; null: the plan stood"),
    *_ROUTING,
    ("price_of_money", REAL, "λ of the batch, per USD: what a dollar weighs against P(correct)"),
    ("seed", LONG, "of the batch's random draws"),
)

VOTES = _table(
    "Each judge's score of an answer.",
    *_QUERY,
    _STEP,
    ("position", INT, "place of the tier in the query's walk, from 0"),
    ("tier", TEXT, "tier whose answer was judged"),
    ("call_id", TEXT, "the call that answered"),
    ("judge", TEXT, "name of the judge"),
    ("version", INT, "version of the judge"),
    ("score", REAL, "how likely the answer is right, 0 to 1; null: it failed, and the reason says how"),
    ("reason", TEXT, "what the judge says"),
    ("form", TEXT, "how it was asked, where that may sway it: which option stood first"),
)

FEEDBACK = _table(
    "Labels given after the fact, every one ever: the latest of a query stands.",
    _JOB,
    _QUERY_ID,
    ("label", TEXT, "the right answer; null: what was given before is withdrawn"),
    ("label_source", TEXT, "gold or human"),
    ("given_at", TIME, "when it was given"),
    ("reviewer", TEXT, "who gave it; null where nobody said"),
    (
        "selected_by",
        TEXT,
        "what chose the row: review, or the audit by chance alone; null where nobody knows",
    ),
    ("score", REAL, "P(correct) of the answer that stood when the row was chosen"),
    ("reason", TEXT, "why it was chosen"),
)

EMBEDDINGS = _table(
    "What an encoder's endpoint made of each query's text, for routing, or why it made nothing of it.",
    _JOB,
    ("generation", INT, "generation that produced the row"),
    _BATCH,
    _QUERY_ID,
    ("encoder", TEXT, "version of the encoder"),
    ("vector", FEATURES, "of length 1; null where there is none"),
    ("problem", TEXT, "why there is none"),
)

REWARDS = _table(
    "What each answer paid for was worth: the best label of its query grades every one.",
    ("call_id", TEXT, "the call that answered"),
    _JOB,
    _QUERY_ID,
    _TIER,
    _MODEL,
    ("category", TEXT, "path in the routing taxonomy; empty: the root"),
    ("familiar", BOOL, "one category was clear of the rest"),
    ("answer", TEXT, "what the tier said; null: nothing valid"),
    ("reward", REAL, "how right it was, 0 to 1"),
    ("label_source", TEXT, "what says so: gold, human, audit or judges, the best first"),
    ("weight", REAL, "what the row counts in a fit"),
    ("p_labelled", REAL, "probability that a row of the job was labelled so; null: someone chose which ones"),
    ("labelled_at", TIME, "when the label was given"),
    ("finished_at", TIME, "when the query ended"),
    ("cost_usd", USD, "of asking this tier for this query, retries included; so are the tokens"),
    *_TOKENS,
    ("latency_ms", LONG, "of asking this tier for this query"),
    ("score", REAL, "the tier's own confidence, 0 to 1; null where it states none"),
    ("confidence", REAL, "P(correct) by the combiner when it was judged"),
    ("stands", BOOL, "it is the query's final answer"),
    ("position", INT, "place of the tier in the query's walk, from 0; null: asked by the audit"),
    ("tiers_left", TEXTS, '"TIER MODEL" of the answers not believed before this tier was asked'),
    *_PLANNED,
    *_ROUTING,
    ("audited", BOOL, "every tier was asked, by chance alone: judges versions, trains none"),
    ("query_key", pa.uint64(), "a hash of job and query"),
    ("features", FEATURES, "the text as routing sees it"),
    ("selected_by", TEXT, "what chose the row to be labelled: review; null: chance, or nobody knows"),
    ("selected_score", REAL, "P(correct) of the answer that stood when it was chosen"),
)

POLICIES = _table(
    "Every version of a routing policy ever fitted; `tierwise policy history` says which one is promoted.",
    ("policy", TEXT, "name of the policy"),
    ("version", TEXT, "name of the version"),
    ("parents", TEXTS, "versions it was fitted from"),
    ("rewards", TEXTS, "keys of the reward files it was fitted on"),
    ("rows", LONG, "answers that counted"),
    ("created_at", TIME, "when it was fitted"),
    ("snapshot", pa.binary(), "what it has learned; not in the view"),
)

CERTIFICATES = _table(
    "One row per job that was to be certified: what was promised, on what evidence, or why it was not.",
    _JOB,
    _GENERATION,
    ("certified", BOOL, "the answers agree with the reference as promised"),
    ("pending", BOOL, "people have yet to label drawn rows"),
    ("reason", TEXT, "why it is not certified, and what would change that"),
    ("target", REAL, "share of rows that agree with the reference, at least; null: only measured"),
    ("reference", TEXT, "gold, human, or a tier"),
    ("judge", TEXT, "what tells that answers agree; null: equal ones do"),
    ("judged", LONG, "pairs of answers it was asked about"),
    ("unread", LONG, "of these, without a verdict that could be read; they disagree"),
    ("alike", TEXTS, "drawn rows whose answer it found to say the same in other words"),
    ("confidence", REAL, "at most 1 - confidence of the certificates issued so are wrong"),
    ("bound", TEXT, "the one test, named before the audit was opened"),
    ("population", LONG, "rows of the job"),
    ("pilot", LONG, "rows drawn to find plans"),
    ("audited", LONG, "rows drawn to test them"),
    (
        "labelled",
        LONG,
        "audited rows that people labelled, where they are the reference; rejected rows need none",
    ),
    ("drawn", TEXTS, "ids of the rows that people are to label; they teach nothing"),
    ("unavailable", LONG, "audited rows not asked of every tier; they count as disagreeing"),
    (
        "agreeing",
        LONG,
        "audited rows that agree, under the plan; unless people label them, it was chosen on them",
    ),
    ("p_value", REAL, "probability of that many if the job lay below target + off_plan_allowed"),
    ("sure", REAL, "share that the surest plan of the chain agrees on at least"),
    ("plan", TEXT, "JSON: all that the frozen plan consists of"),
    ("chain", TEXT, "JSON: the plans in the order they were tested, up to the first that did not pass"),
    ("off_plan", LONG, "rows that did not end under the plan; they count as disagreeing"),
    ("off_plan_share", REAL, "their share of the population"),
    ("off_plan_allowed", REAL, "the share that the test left room for"),
    ("audit_usd", USD, "what pilot and audit cost"),
    ("graded", LONG, "drawn rows whose gold is known"),
    ("reference_accuracy", REAL, "of the reference on these; null: not known"),
    ("repeated", LONG, "audited rows that the reference was asked about twice, or that two people labelled"),
    ("self_agreement", REAL, "of the reference with itself on these; null: not known"),
    ("accuracy", REAL, "agreement of all rows, estimated from predictions and audit"),
    ("accuracy_low", REAL, "lower end of its interval"),
    ("accuracy_high", REAL, "its upper end"),
    ("parts", TEXT, "JSON: agreement by label, field or category on the audited rows; no bound covers it"),
    ("labels", TEXT, "JSON: what is certified of each label, or why it is not; null: not asked for"),
    ("issued_at", TIME, "when it was written"),
)

RELEASES = _table(
    "Presumed calls that came to their true cost after their job had closed; other tables keep the charge.",
    _CALL,
    _JOB,
    _QUERY_ID,
    _TIER,
    _MODEL,
    ("outcome", TEXT, "unreachable: not billed; lost: billed, without a reply; else its reply came late"),
    ("charged_usd", USD, "charged when its outcome was unknown"),
    ("cost_usd", USD, "what it truly cost"),
    *_TOKENS,
    ("released_at", TIME, "when that was found"),
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
