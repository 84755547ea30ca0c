"""Closed jobs of any length written into a lake by hand: three tiers, an audit, gold, every way to end."""

import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.ports.storage import Storage
from pipeline.storage.final import write_final
from pipeline.storage.sql import named
from pipeline.storage.views import prepare_lake
from schemas.ids import JobId
from schemas.tables import TABLES

SQL = Path(__file__).with_suffix(".sql")
START = 1_790_000_000_000  # Unix ms
AUDITED = 200
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>|`*"
SPEC = {
    "name": "nightly",
    "task": {"kind": "classify", "labels": ["billing", "outage", "refund", HOSTILE]},
    "tiers": [{"name": name} for name in ("small", "middle", "large")],
}
CHAIN = [
    {"tiers": ["small", "middle", "large"], "accept": accept, "agreeing": agreeing, "audited": AUDITED,
     "p_value": 0.001, "usd_per_row": usd}
    for accept, agreeing, usd in (
        ([0.98, 0.95, 0.0], 199, 0.0031), ([0.95, 0.9, 0.0], 198, 0.0022), ([0.9, 0.85, 0.0], 196, 0.0016),
        ([0.85, 0.8, 0.0], 194, 0.0011), ([0.8, 0.7, 0.0], 191, 0.0008),
    )
]  # fmt: skip
PLAN = {
    "tiers": [
        {"tier": "small", "accept": 0.8},
        {"tier": "middle", "accept": 0.7},
        {"tier": "large", "accept": 0.0},
    ]
}

_CERTIFICATE = {
    "certified": True, "pending": False, "reason": "", "target": 0.93, "reference": "gold", "confidence": 0.95,
    "pilot": 0, "audited": AUDITED, "agreeing": 191, "p_value": 0.031, "off_plan": 0, "audit_usd": Decimal("0.5"),
    "accuracy": 0.951, "accuracy_low": 0.93, "accuracy_high": 0.97,
    "chain": json.dumps(CHAIN), "plan": json.dumps(PLAN),
}  # fmt: skip


async def closed(
    storage: Storage, job: str, rows: int, *, seed: int = 0, easy: int = 600, audited: int = AUDITED
) -> JobId:
    """`easy`: of a thousand queries, so many are answered by the first tier. What stands before a dash is the job's
    name. The same arguments give the same job."""
    await prepare_lake(storage)
    statements = named(SQL.read_text(encoding="utf-8"))
    given = {"rows": rows, "seed": seed, "easy": easy, "hostile": HOSTILE, "audited": audited, "start": START}
    with duckdb.connect() as connection:
        for name in ("chance", "asked", "said", "paid"):
            sql = statements.pop(name)
            connection.execute(sql, {key: value for key, value in given.items() if f"${key}" in sql})
        for name, sql in statements.items():
            found = connection.sql(sql).to_arrow_table()
            await write_final(storage, name, JobId(job), _whole(name, job, found))
        counted = connection.execute("SELECT status, count(*) FROM asked GROUP BY status").fetchall()
        [(spent, last)] = connection.execute("SELECT sum(cost_usd), max(sent_at) FROM paid").fetchall()
    own = {
        "name": job.split("-")[0], "prompt_hash": job.split("-")[0], "spec": json.dumps(SPEC), "queries": rows,
        **dict(counted),
        "spent_usd": spent, "presumed_usd": Decimal("0.001"), "cap_usd": spent * Decimal("1.25"),
        "forecast_low_usd": spent * Decimal("0.9"), "forecast_high_usd": spent * Decimal("1.1"),
        "created_at": START, "closed_at": last,
    }  # fmt: skip
    for name, row in (("certificates", _CERTIFICATE | {"population": rows}), ("jobs", own)):
        if audited or name == "jobs":
            table = pa.Table.from_pylist([row], schema=pa.schema([TABLES[name].field(key) for key in row]))
            await write_final(storage, name, JobId(job), _whole(name, job, table))
    return JobId(job)


def _whole(name: str, job: str, found: pa.Table) -> pa.Table:
    """With the job, generation 1, and null in what nobody reads."""
    stamps = {"job": job, "generation": 1, "asked_in": 1, "batch": 0, "step": 0}
    columns = [
        found[field.name].cast(field.type)
        if field.name in found.column_names
        else pa.repeat(pa.scalar(stamps.get(field.name), field.type), len(found))
        for field in TABLES[name]
    ]
    return pa.Table.from_arrays(columns, schema=TABLES[name])
