"""The least a ledger must write, by the driver alone: what group commit is measured against."""

import hashlib
import resource
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

GROUP = 1024  # the most calls the ledger commits at once
TABLE = (
    "CREATE TABLE floor_calls (call_id TEXT PRIMARY KEY, query_id TEXT NOT NULL, request_key BIGINT NOT NULL, "
    "amount BIGINT NOT NULL, cost BIGINT NOT NULL DEFAULT 0, state TEXT NOT NULL, body {blob}, UNIQUE (query_id))"
)
INDEX = "CREATE INDEX floor_by_request ON floor_calls (request_key)"
HOLD = (
    "INSERT INTO floor_calls (call_id, query_id, request_key, amount, state) VALUES (?, ?, ?, 1000, 'held')"
)
SETTLE = "UPDATE floor_calls SET state = 'settled', cost = 500, body = ? WHERE call_id = ?"
MOVE = "UPDATE floor_account SET held = held + ?"

Many = Callable[[str, Sequence[tuple[Any, ...]]], None]


def floor_of(
    database: str, url: str, group: int, calls: int, *, settled: bool, body: bytes
) -> dict[str, float]:
    run = _sqlite if database == "sqlite" else _postgresql
    return run(url, group, calls, settled, body)


def _sqlite(url: str, group: int, calls: int, settled: bool, body: bytes) -> dict[str, float]:
    path = Path(url.removeprefix("sqlite:///")).with_name("floor.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=10000")
    for statement in (TABLE.format(blob="BLOB"), INDEX, "CREATE TABLE floor_account (held BIGINT)"):
        connection.execute(statement)
    connection.execute("INSERT INTO floor_account VALUES (0)")
    begin, commit = (lambda: connection.execute("BEGIN IMMEDIATE")), (lambda: connection.execute("COMMIT"))

    def many(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        connection.executemany(statement, rows)

    try:
        return _timed(begin, commit, many, group, calls, settled, body)
    finally:
        connection.close()


def _postgresql(url: str, group: int, calls: int, settled: bool, body: bytes) -> dict[str, float]:
    import psycopg

    address, _, options = url.partition("?")
    schema = dict(option.split("=") for option in options.split("&"))["schema"]
    connection = psycopg.connect(address, options=f"-c search_path={schema} -c synchronous_commit=on")
    cursor = connection.cursor()
    for statement in (TABLE.format(blob="BYTEA"), INDEX, "CREATE TABLE floor_account (held BIGINT)"):
        cursor.execute(statement)  # type: ignore[arg-type]
    cursor.execute("INSERT INTO floor_account VALUES (0)")
    connection.commit()

    def many(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        cursor.executemany(statement.replace("?", "%s"), rows)  # type: ignore[arg-type]

    try:
        return _timed(lambda: None, connection.commit, many, group, calls, settled, body)
    finally:
        connection.close()


def _timed(
    begin: Callable[[], Any],
    commit: Callable[[], Any],
    many: Many,
    group: int,
    calls: int,
    settled: bool,
    body: bytes,
) -> dict[str, float]:
    rows = [(f"{number:032x}", f"{number:08x}", _key(number)) for number in range(calls)]
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for start in range(0, calls, group):
        part = rows[start : start + group]
        begin()
        many(HOLD, part)
        many(MOVE, [(1000 * len(part),)])
        commit()
        if settled:
            begin()
            many(SETTLE, [(body, row[0]) for row in part])
            many(MOVE, [(-1000 * len(part),)])
            commit()
    seconds, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"floor_per_s": calls / seconds, "floor_cpu_us": cpu / calls * 1e6}


def _key(number: int) -> int:
    return int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], signed=True)
