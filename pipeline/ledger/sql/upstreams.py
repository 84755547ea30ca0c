"""Upstreams that processes share: a row each, read, changed by the arithmetic of `pacing`, written back."""

from typing import Any

from msgspec.structs import asdict
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger import pacing
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import upstreams
from pipeline.ports.ledger import Draw, Drawn, Pacing

_COLUMNS = [upstreams.c[name] for name in Pacing.__struct_fields__]


def draw(tx: Tx, upstream: str, asked: Draw, now: int) -> Drawn:
    """An upstream in good health is only looked at."""
    this = upstreams.c.upstream == upstream
    row = tx.run(select(*_COLUMNS).where(this).with_for_update()).first()
    if row is None:
        dialect: Any = postgresql if tx.postgresql else sqlite
        tx.run(dialect.insert(upstreams).values(upstream=upstream).on_conflict_do_nothing())
        row = tx.run(select(*_COLUMNS).where(this).with_for_update()).one()
    before = Pacing(**row._mapping)
    after, drawn = pacing.draw(before, asked, now)
    if after != before:
        tx.run(update(upstreams).where(this).values(asdict(after)))
    return drawn


def read(tx: Tx, upstream: str) -> Pacing | None:
    row = tx.run(select(*_COLUMNS).where(upstreams.c.upstream == upstream)).first()
    return None if row is None else Pacing(**row._mapping)
