"""A group of calls on SQLite, past SQLAlchemy; what nobody else can have changed is not read again.

Every writer holds the write lock from BEGIN to COMMIT, and `PRAGMA data_version` tells whether any other
connection committed since our last transaction: if none did, the file says what we wrote and read last.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from pipeline.ledger.errors import UnknownCall
from pipeline.ledger.rules import Balance, Former, Gate, Key, Place, intent_key, place_of
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.hot import (
    HOLD,
    NEWS,
    Conflict,
    Granted,
    Seen,
    Told,
    Written,
    formers_of,
    hold_row,
    news_row,
    request_key,
    told_of,
)
from pipeline.ledger.sql.statements import repeated, statements
from pipeline.ports.ledger import Intent, Settlement
from schemas.ids import AccountId, CallId

CHUNK = 64  # parameter rows per statement: few texts, each prepared once
MOST = 50_000  # calls or batches remembered
HOLDS = "(" + "?, " * len(HOLD) + "'held')"
TOLD = "(" + ", ".join("?" * len(NEWS)) + ")"
TRIPLE = "(?, ?, ?)"


class Memory:
    """What the file is known to say as long as `version` is its data_version."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.balances: dict[AccountId, Balance] = {}
        self.gates: dict[Place, Gate] = {}
        self.held: dict[CallId, Told] = {}


class SqliteHot:
    """See hot.py for what each operation promises."""

    def __init__(self, connection: sqlite3.Connection, chains: Chains) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._chains = chains
        self._texts = statements("sqlite_hot.sql")
        self._memory: Memory | None = None  # taken by `look`, put back when its group is committed

    def look(self, settlements: Sequence[Settlement], intents: Sequence[Intent]) -> Seen:
        self._cursor.execute("BEGIN IMMEDIATE")
        self._working = memory = self._recall()
        told = self._told(memory, {settlement.call_id for settlement in settlements})
        accounts = {call.account for call in told.values()} | {intent.account for intent in intents}
        chain_of = {account: self._chains.of(self._parent, account) for account in accounts}
        self._learn(memory.balances, {name for chain in chain_of.values() for name in chain}, self._balances)
        self._learn(memory.gates, {place_of(intent) for intent in intents}, self._gates)
        chains = {account: [memory.balances[name] for name in chain] for account, chain in chain_of.items()}
        return Seen(told, memory.balances, chains, memory.gates, self._formers(intents))

    def _recall(self) -> Memory:
        version = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        memory, self._memory = self._memory, None
        if memory is None or memory.version != version or len(memory.held) + len(memory.gates) > MOST:
            return Memory(version)
        return memory

    def _learn(
        self, known: dict[Any, Any], wanted: Collection[Any], read: Callable[[list[Any]], Any]
    ) -> None:
        missing = [one for one in wanted if one not in known]
        if missing:
            known.update(read(missing))

    def _told(self, memory: Memory, wanted: Collection[CallId]) -> dict[CallId, Told]:
        held = memory.held
        told = {call_id: held[call_id] for call_id in wanted if call_id in held}
        if len(told) < len(wanted):
            missing = [call_id for call_id in wanted if call_id not in told]
            for row in self._rows("calls_to_settle", "?", missing, 1):
                told[row[0]] = told_of(row)
            for call_id in missing:
                if call_id not in told:
                    raise UnknownCall(call=call_id)
        return told

    def _parent(self, account: str) -> tuple[str | None] | None:
        found: tuple[str | None] | None = self._cursor.execute(self._texts["parent"], (account,)).fetchone()
        return found

    def _balances(self, names: list[AccountId]) -> dict[AccountId, Balance]:
        return {row[0]: Balance(*row) for row in self._rows("balances", "?", names, 1)}

    def _gates(self, places: list[Place]) -> dict[Place, Gate]:
        values = [value for place in places for value in place]
        return {row[:3]: Gate(*row[3:]) for row in self._rows("gates", TRIPLE, values, 3)}

    def _formers(self, intents: Sequence[Intent]) -> dict[Key, list[Former]]:
        keys = list({request_key(intent) for intent in intents})
        return formers_of(self._rows("former_calls", "?", keys, 1))

    def insert(self, granted: Granted, now: int) -> bool:
        try:
            self._change("insert_holds", HOLDS, [hold_row(granted, now)])
        except Conflict:
            return False
        return True

    def exists(self, call_id: CallId) -> bool:
        return self._cursor.execute(self._texts["exists"], (call_id,)).fetchone() is not None

    def last_attempt(self, intent: Intent) -> int:
        found = self._cursor.execute(self._texts["last_attempt"], intent_key(intent)).fetchone()[0]
        return int(found or 0)

    def write(self, seen: Seen, written: Written) -> None:
        now, execute = written.now, self._cursor.execute
        self._change("insert_holds", HOLDS, [hold_row(granted, now) for granted in written.granted])
        self._change("journal", TOLD, [news_row(call, call.news, now) for call in written.told if call.news])
        moved = [balance for balance in seen.balances.values() if balance.moved()]
        for balance in moved:
            delta = (balance.d_spent, balance.d_held, balance.d_presumed, balance.account)
            execute(self._texts["move_balance"], delta)
        for job in written.halted:
            execute(self._texts["halt"], (job,))
        execute("COMMIT")
        self._remember(moved, written)

    def _remember(self, moved: Iterable[Balance], written: Written) -> None:
        memory = self._working
        if written.halted:
            return
        for balance in moved:
            balance.stand()
        for call in written.told:
            memory.held.pop(call.call_id, None)
        for intent, _ in written.granted:
            memory.held[intent.call_id] = Told(
                intent.call_id, intent.lease.job, intent.account, "held", intent.amount, 0, False
            )
        self._memory = memory

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def forget(self) -> None:
        self._memory = None

    def _rows(self, name: str, row: str, values: Sequence[Any], width: int) -> Iterable[Any]:
        """What a query finds, `width` values to a parameter row."""
        for start in range(0, len(values), CHUNK * width):
            part = values[start : start + CHUNK * width]
            text = repeated(self._texts[name], row, len(part) // width)
            yield from self._cursor.execute(text, part).fetchall()

    def _change(self, name: str, row: str, rows: Sequence[tuple[object, ...]]) -> None:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            values: list[object] = []
            for one in part:
                values += one
            try:
                self._cursor.execute(repeated(self._texts[name], row, len(part)), values)
            except sqlite3.IntegrityError as error:
                raise Conflict from error
