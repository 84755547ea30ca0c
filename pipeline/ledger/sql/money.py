"""Accounts, their chains, and what moves along them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.errors import UnknownAccount
from pipeline.ledger.rules import MOST, Balance
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import accounts, calls
from pipeline.ports.ledger import Account
from schemas.ids import AccountId, Nano

Chain = tuple[AccountId, ...]


class Chains:
    """Which accounts a hold must fit in, from the account itself to the root. Parents never change."""

    def __init__(self) -> None:
        self._known: dict[str, Chain] = {}

    def of(self, tx: Tx, account: str) -> Chain:
        """Raises UnknownAccount."""
        known = self._known.get(account)
        if known is None:
            known = self._known[account] = tuple(_ancestors(tx, account))
        return known


def _ancestors(tx: Tx, account: str) -> Iterable[AccountId]:
    name: str | None = account
    while name is not None:
        row = tx.run(select(accounts.c.parent).where(accounts.c.account == name)).first()
        if row is None:
            raise UnknownAccount(account=name)
        yield AccountId(name)
        name = row[0]


def lock_balances(tx: Tx, names: Iterable[AccountId]) -> dict[AccountId, Balance]:
    """The accounts as they stand, nobody else moving them until the transaction ends."""
    ordered = tuple(sorted(set(names)))
    if not ordered:
        return {}
    rows = tx.rows("balances", len(ordered), ordered)
    return {row[0]: Balance(*row) for row in rows}


def write_balances(tx: Tx, balances: Iterable[Balance]) -> None:
    moved = [
        (balance.d_spent, balance.d_held, balance.d_presumed, balance.account)
        for balance in balances
        if balance.d_spent or balance.d_held or balance.d_presumed
    ]
    if moved:
        tx.change("move_balances", 1, moved)


def open_account(tx: Tx, account: AccountId, cap: Nano, parent: AccountId | None) -> None:
    """Raises UnknownAccount when the parent is not there."""
    if parent is not None and read_account(tx, parent) is None:
        raise UnknownAccount(account=parent)
    row = {"account": account, "parent": parent, "cap": min(cap, MOST)}
    dialect: Any = postgresql if tx.postgresql else sqlite
    tx.run(dialect.insert(accounts).values(row).on_conflict_do_nothing())


def raise_cap(tx: Tx, account: AccountId, by: Nano) -> None:
    balance = lock_balances(tx, [account]).get(account)
    if balance is None:
        raise UnknownAccount(account=account)
    tx.run(update(accounts).where(accounts.c.account == account).values(cap=min(balance.cap + by, MOST)))


def read_account(tx: Tx, account: AccountId) -> Account | None:
    row = tx.run(select(accounts).where(accounts.c.account == account)).first()
    return None if row is None else Account(**row._mapping)


def presume_calls(tx: Tx, chains: Chains, conditions: Sequence[Any], now: int) -> int:
    """Charge held calls in full: whoever held them is gone, and nobody knows. Returns their number.

    The jobs must be locked, so that no hold slips in.
    """
    found = tx.run(
        select(calls.c.call_id, calls.c.account, calls.c.amount)
        .where(calls.c.state == "held", *conditions)
        .order_by(calls.c.call_id)
        .with_for_update()
    ).all()
    if not found:
        return 0
    chain_of = {row.account: chains.of(tx, row.account) for row in found}
    balances = lock_balances(tx, {name for chain in chain_of.values() for name in chain})
    for row in found:
        for name in chain_of[row.account]:
            balances[name].move(row.amount, -row.amount, row.amount)
    _mark_presumed(tx, [row.call_id for row in found], now)
    write_balances(tx, balances.values())
    return len(found)


def _mark_presumed(tx: Tx, call_ids: Sequence[str], now: int) -> None:
    for start in range(0, len(call_ids), 500):
        tx.run(
            update(calls)
            .where(calls.c.call_id.in_(call_ids[start : start + 500]))
            .values(state="presumed", outcome="presumed", cost=calls.c.amount, settled_at=now)
        )
