"""The ledger's tables. Times are Unix ms, money is nano-dollars."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
VERSION = 2  # of these tables; one more with each change that `versions.py` has a step for


def _words(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _number(name: str, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=default)


accounts = Table(
    "accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("parent", Text),  # several: with spaces between
    _number("cap"),
    _number("spent", "0"),  # settled and presumed
    _number("held", "0"),
    _number("presumed", "0"),  # the part of spent that stands for unknown outcomes
    postgresql_with={
        "fillfactor": 50
    },  # its few rows are rewritten by every group: keep the new version beside
)

jobs = Table(
    "jobs",
    metadata,
    Column("job", Text, primary_key=True),
    _words("name"),
    _words("account"),
    _number("generation"),
    _words("state"),  # running, closing, closed
    Column("stop", Text),  # cancelled, over_hold, infeasible
    _number("batches"),
    _number("committed"),
    _number("created_at"),
    Column("closed_at", BigInteger),
)

batches = Table(
    "batches",
    metadata,
    _words("job"),
    _number("generation"),
    _number("batch"),
    _number("committed", "0"),  # 0, 1
    _number("fence", "0"),
    _words("owner", ""),
    _number("lease_until", "0"),  # 0: given back
    _number("published_at", "0"),
    _number("attempts", "0"),  # leases since the last progress
    _number("seen", "0"),  # replies journalled when it was leased last
    Column("pin", Text),  # JSON, fixed by the first lease
    PrimaryKeyConstraint("job", "generation", "batch"),
)

shares = Table(  # a table of its own: only batches that may run short have a row
    "shares",
    metadata,
    _words("job"),
    _number("generation"),
    _number("batch"),
    _number("fence"),  # of the holder that asked; its successor asks anew
    _number("wants"),  # queries that wait for money others may give back
    _number("purse"),  # set aside when it asked last
    PrimaryKeyConstraint("job", "generation", "batch"),
)

notes = Table(  # of batches under way; deleted when they are committed
    "notes",
    metadata,
    _words("job"),
    _number("generation"),
    _number("batch"),
    _number("fence"),  # of the holder that noted it
    _words("tally"),  # JSON
    PrimaryKeyConstraint("job", "generation", "batch"),
)

calls = Table(
    "calls",
    metadata,
    Column("call_id", Text, primary_key=True),
    _words("job"),
    _number("generation"),
    _number("batch"),
    _number("fence"),
    _words("account"),
    _words("query_id"),
    _number("step"),
    _words("purpose"),
    _words("tier"),
    _words("model"),
    _words("lane"),
    _number("sample"),
    _number("attempt"),
    Column("request_hash", LargeBinary, nullable=False),
    _number(
        "request_key"
    ),  # 64 bits of request hash and sample: what equal requests, of any job, are found by
    _words("state"),  # held, settled, presumed, released
    _number("amount"),  # the hold
    _number("held_at"),
    _number("cost", "0"),
    Column("outcome", Text),
    _words("finish_reason", ""),
    _number("input", "0"),
    _number("cached_input", "0"),
    _number("cache_write", "0"),
    _number("output", "0"),
    _number("reasoning", "0"),
    _number("latency_ms", "0"),
    _number("sent_at", "0"),
    _words("error", ""),
    _number("settled_at", "0"),
    Column("body", LargeBinary),  # last, so that a scan of the other columns does not read it
    UniqueConstraint(
        "job", "generation", "query_id", "step", "purpose", "tier", "sample", "attempt", name="one_intent"
    ),
)
Index("calls_by_request", calls.c.request_key)
Index("calls_by_batch", calls.c.job, calls.c.generation, calls.c.batch)
Index(
    "calls_held",
    calls.c.job,
    calls.c.generation,
    calls.c.batch,
    sqlite_where=text("state = 'held'"),
    postgresql_where=text("state = 'held'"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    _words("owner"),
    _number("fence"),
    _number("lease_until"),
)

upstreams = Table(
    "upstreams",
    metadata,
    Column("upstream", Text, primary_key=True),
    _number("next_at", "0"),  # Unix µs
    _number("rate", "0"),  # calls a minute
    _number("ceiling", "0"),  # calls a minute
    _number("cut_at", "0"),
    _number("grown_ms", "0"),
    _number("drawn_at", "0"),
    _number("limited", "0"),
    _number("answered_since", "0"),
    _number("limited_since", "0"),
    _number("failures", "0"),
    _number("parked_at", "0"),
    _number("probe_at", "0"),
    _words("problem", ""),
    postgresql_with={"fillfactor": 50},
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    _words("spec"),  # JSON
    _words("folder"),
    _number("paused"),  # 0, 1
    _number("created_at"),
    _number("decided_until"),
)

occurrences = Table(
    "occurrences",
    metadata,
    _words("schedule"),
    _number("scheduled_at"),
    _words("state"),  # due, submitted, nothing_new, missed, overlapped, failed
    Column("job", Text),
    _words("note"),
    Column("exit_code", BigInteger),
    _number("seen_at"),
    PrimaryKeyConstraint("schedule", "scheduled_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _words("job"),
    _number("generation"),
    _words("url"),
    _words("secret_env"),
    _words("message"),
    _words("body"),  # JSON
    _number("created_at"),
    _words("state"),  # waiting, delivered, given_up
    _number("attempts"),
    _number("next_at"),
    _words("note"),
    PrimaryKeyConstraint("job", "generation"),
)
Index(
    "deliveries_waiting",
    deliveries.c.next_at,
    sqlite_where=text("state = 'waiting'"),
    postgresql_where=text("state = 'waiting'"),
)

schema_version = Table("schema_version", metadata, _number("version"))  # one row
