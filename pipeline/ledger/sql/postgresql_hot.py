"""A group of calls on PostgreSQL, past SQLAlchemy: two round trips, one to look and one to write and commit."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from psycopg import Connection, Cursor, IntegrityError

from pipeline.ledger.errors import UnknownCall
from pipeline.ledger.rules import Balance, Gate, intent_key, place_of
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.hot import (
    HOLD,
    NEWS,
    Conflict,
    Granted,
    Seen,
    Written,
    formers_of,
    hold_row,
    news_row,
    request_key,
    told_of,
)
from pipeline.ledger.sql.statements import statements
from pipeline.ledger.sql.store import lock_number
from pipeline.ports.ledger import Intent, Settlement
from schemas.ids import AccountId, CallId

CHUNK = 256  # rows per statement that carries replies
MOST = 100_000  # calls whose account is remembered
PLACE = ("job", "generation", "batch")
encode = msgspec.json.Encoder().encode


class PostgresHot:
    """See hot.py for what each operation promises."""

    def __init__(self, connection: "Connection[Any]", scope: str, chains: Chains) -> None:
        self._connection = connection
        self._scope = scope
        self._chains = chains
        self._texts = statements("postgresql_hot.sql")
        self._account_of: dict[CallId, AccountId] = {}  # of calls held here, so that one trip locks both

    def look(self, settlements: Sequence[Settlement], intents: Sequence[Intent]) -> Seen:
        call_ids = sorted({settlement.call_id for settlement in settlements})
        accounts = {intent.account for intent in intents} | self._accounts_of(call_ids)
        chain_of = {account: self._chains.of(self._parent, account) for account in accounts}
        names = sorted({name for chain in chain_of.values() for name in chain})
        jobs = {intent.lease.job for intent in intents}
        with self._connection.pipeline():
            for number in sorted(lock_number(self._scope, job) for job in jobs):
                self._send("lock_jobs", (number,))
            calls = self._ask("calls_to_settle", call_ids)
            balances = self._ask("balances", names)
            gates = self._ask("gates", _named(PLACE, {place_of(intent) for intent in intents}))
            formers = self._ask("former_calls", list({request_key(intent) for intent in intents}))
        standing = {row[0]: Balance(*row) for row in _rows(balances)}
        return Seen(
            {row[0]: told_of(row) for row in _rows(calls)},
            standing,
            {account: [standing[name] for name in chain] for account, chain in chain_of.items()},
            {row[:3]: Gate(*row[3:]) for row in _rows(gates)},
            formers_of(_rows(formers)),
        )

    def _accounts_of(self, call_ids: Sequence[CallId]) -> set[AccountId]:
        """Raises UnknownCall."""
        known = self._account_of
        missing = [call_id for call_id in call_ids if call_id not in known]
        if missing:
            if len(known) > MOST:
                known.clear()
                missing = list(call_ids)
            known.update(_rows(self._ask("accounts_of", missing)))
            for call_id in missing:
                if call_id not in known:
                    raise UnknownCall(call=call_id)
        return {known[call_id] for call_id in call_ids}

    def _parent(self, account: str) -> tuple[str | None] | None:
        return self._send("parent", (account,)).fetchone()

    def insert(self, granted: Granted, now: int) -> bool:
        rows = _named(HOLD, [hold_row(granted, now)])
        text = self._texts["insert_holds"] + " ON CONFLICT DO NOTHING"
        return self._connection.execute(text, (_json(rows),)).rowcount == 1

    def exists(self, call_id: CallId) -> bool:
        return self._send("exists", (call_id,)).fetchone() is not None

    def last_attempt(self, intent: Intent) -> int:
        found = self._send("last_attempt", intent_key(intent)).fetchone()
        return int((found and found[0]) or 0)

    def write(self, seen: Seen, written: Written) -> None:
        now = written.now
        news = [news_row(call, call.news, now) for call in written.told if call.news]
        try:
            with self._connection.pipeline():
                self._ask(
                    "insert_holds", _named(HOLD, [hold_row(granted, now) for granted in written.granted])
                )
                for start in range(0, len(news), CHUNK):
                    self._ask("journal", _named(NEWS, news[start : start + CHUNK]))
                for _, balance in sorted(seen.balances.items()):
                    if balance.moved():
                        delta = (balance.d_spent, balance.d_held, balance.d_presumed, balance.account)
                        self._send("move_balance", delta)
                for job in sorted(written.halted):
                    self._send("halt", (job,))
                self._connection.execute("COMMIT")
        except IntegrityError as error:
            raise Conflict from error
        for call in written.told:
            self._account_of.pop(call.call_id, None)
        for intent, _ in written.granted:
            self._account_of[intent.call_id] = intent.account

    def rollback(self) -> None:
        self._connection.rollback()

    def forget(self) -> None:
        """Nothing is remembered that another transaction could change."""

    def _send(self, name: str, parameters: Sequence[object]) -> "Cursor[Any]":
        return self._connection.execute(self._texts[name], parameters)

    def _ask(self, name: str, rows: Sequence[object]) -> "Cursor[Any] | None":
        """Nothing is sent for no rows."""
        return self._send(name, (_json(rows),)) if rows else None


def _json(rows: Sequence[object]) -> str:
    return encode(rows).decode()


def _named(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[dict[str, object]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rows(cursor: "Cursor[Any] | None") -> Sequence[Any]:
    return [] if cursor is None else cursor.fetchall()
