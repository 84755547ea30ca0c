"""The tables of a ledger of version 1, before versions were kept. Frozen."""

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


def _words(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _number(name: str, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=default)


accounts = Table(
    "accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("parent", Text),
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
    Column("stop", Text),  # cancelled, over_hold
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
Index("calls_by_request", calls.c.job, calls.c.request_hash, calls.c.sample)
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
