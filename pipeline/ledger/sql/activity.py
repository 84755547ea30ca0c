"""What goes on in a generation: its leased batches with what their holders noted, its calls in flight."""

from typing import Any

import msgspec
from sqlalchemy import TextClause, and_, bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import batches, notes
from pipeline.ports.ledger import Activity, UnderWay
from schemas.ids import Generation, JobId
from schemas.records import Lease, Tally

_KEY = ("job", "generation", "batch")
_UNDER_WAY = (
    select(batches.c.batch, batches.c.owner, batches.c.lease_until, notes.c.tally)
    .outerjoin(notes, and_(*(notes.c[name] == batches.c[name] for name in (*_KEY, "fence"))))
    .where(
        batches.c.job == bindparam("the_job"),
        batches.c.generation == bindparam("the_generation"),
        batches.c.committed == 0,
        batches.c.lease_until > bindparam("now"),
    )
    .order_by(batches.c.batch)
)


def _held_in(source: str) -> TextClause:
    """Calls in flight by tier; `state` stands written out, as the partial index has it."""
    return text(
        f"SELECT tier, count(*) FROM {source}"
        " WHERE job = :the_job AND generation = :the_generation AND state = 'held' GROUP BY tier"
    )


# SQLite would take the index of all calls
HELD = {True: _held_in("calls"), False: _held_in("calls INDEXED BY calls_held")}


def _note_for(dialect: Any) -> Any:
    insert = dialect.insert(notes)
    said = {name: insert.excluded[name] for name in ("fence", "tally")}
    return insert.on_conflict_do_update(
        index_elements=_KEY, set_=said, where=notes.c.fence <= insert.excluded.fence
    )


_NOTE = {True: _note_for(postgresql), False: _note_for(sqlite)}  # by whether it is PostgreSQL


def note(tx: Tx, lease: Lease, tally: Tally) -> None:
    row = {name: getattr(lease, name) for name in (*_KEY, "fence")}
    tx.run(_NOTE[tx.postgresql], {**row, "tally": msgspec.json.encode(tally).decode()})


def read(tx: Tx, job: JobId, generation: Generation, now: int) -> Activity:
    place = {"the_job": job, "the_generation": generation}
    leased: list[Any] = list(tx.run(_UNDER_WAY, {**place, "now": now}))
    held: list[Any] = list(tx.run(HELD[tx.postgresql], place))
    return Activity(
        under_way=[
            UnderWay(
                batch=batch,
                owner=owner,
                lease_until=until,
                tally=None if said is None else msgspec.json.decode(said, type=Tally),
            )
            for batch, owner, until, said in leased
        ],
        held={tier: int(count) for tier, count in held},
    )
