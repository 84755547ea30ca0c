"""The ledger's schema: made where there is none, brought up from an older version, refused where it is newer.

All in the transaction of the one who connects first, so that it happens whole or not at all. Versions: 1 had no
`calls.request_key`, no `shares` and no `upstreams`.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, inspect, select, update

from pipeline.ledger.sql.hot import key_of_hash
from pipeline.ledger.sql.tables import VERSION, calls, metadata, schema_version
from schemas.errors import NewerSchema

AT_ONCE = 5_000  # rows


def bring_up(connection: Connection, url: str) -> None:
    """In a transaction that keeps others out. Tables that are new are made, so steps are for old ones. Raises
    NewerSchema."""
    found = _found(connection)
    if found is not None and found > VERSION:
        raise NewerSchema(name="ledger", url=url, why=f"{found} (known here: up to {VERSION})")
    for step in STEPS[found - 1 :] if found is not None else ():
        step(connection)
    metadata.create_all(connection, checkfirst=True)
    if _stated(connection) != VERSION:
        connection.execute(delete(schema_version))
        connection.execute(insert(schema_version).values(version=VERSION))


def _found(connection: Connection) -> int | None:
    """None: there is no ledger yet. Those of before there were versions are told by their columns."""
    known = inspect(connection)
    if known.has_table(schema_version.name):
        return _stated(connection)
    if not known.has_table(calls.name):
        return None
    return 2 if "request_key" in {column["name"] for column in known.get_columns(calls.name)} else 1


def _stated(connection: Connection) -> int | None:
    return connection.execute(select(schema_version.c.version)).scalar()


def _add_request_key(connection: Connection) -> None:
    """1 to 2: equal requests are found by a key of their hash, over all jobs."""
    connection.exec_driver_sql("ALTER TABLE calls ADD COLUMN request_key BIGINT NOT NULL DEFAULT 0")
    asked = (
        select(calls.c.call_id, calls.c.request_hash, calls.c.sample).order_by(calls.c.call_id).limit(AT_ONCE)
    )
    write = update(calls).where(calls.c.call_id == bindparam("id")).values(request_key=bindparam("key"))
    last = ""
    while rows := connection.execute(asked.where(calls.c.call_id > last)).all():
        keys = [{"id": call, "key": key_of_hash(bytes(hashed)) ^ sample} for call, hashed, sample in rows]
        connection.execute(write, keys)
        last = rows[-1][0]
    connection.exec_driver_sql("DROP INDEX calls_by_request")
    connection.exec_driver_sql("CREATE INDEX calls_by_request ON calls (request_key)")


STEPS: Sequence[Callable[[Connection], None]] = (_add_request_key,)  # from version 1 on, one each
