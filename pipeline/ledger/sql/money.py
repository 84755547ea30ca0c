"""Accounts, and what moves along their chains outside of groups."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.ledger.errors import UnknownAccount
from pipeline.ledger.rules import MOST, Balance, carried
from pipeline.ledger.sql.chains import Chains, parents_in
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import accounts, calls, jobs
from pipeline.ports.ledger import Account
from schemas.ids import AccountId, Nano


def lock_balances(tx: Tx, names: Iterable[AccountId]) -> dict[AccountId, Balance]:
    """The accounts as they stand, nobody else moving them until the transaction ends."""
    wanted = sorted(set(names))
    columns = (accounts.c.account, accounts.c.cap, accounts.c.spent, accounts.c.held, accounts.c.presumed)
    query = select(*columns).where(accounts.c.account.in_(wanted)).order_by(accounts.c.account)
    rows: Iterable[Any] = tx.run(query.with_for_update())
    return {row[0]: Balance(*row) for row in rows}


def write_balances(tx: Tx, balances: Iterable[Balance]) -> None:
    column = accounts.c
    for balance in balances:
        change = {
            "spent": column.spent + balance.d_spent,
            "held": column.held + balance.d_held,
            "presumed": column.presumed + balance.d_presumed,
        }
        tx.run(update(accounts).where(column.account == balance.account).values(change))


def parent_of(tx: Tx, account: str) -> Sequence[str | None] | None:
    row = tx.run(select(accounts.c.parent).where(accounts.c.account == account)).first()
    return None if row is None else (row[0],)


def open_account(tx: Tx, account: AccountId, cap: Nano, parents: Sequence[AccountId] = ()) -> bool:
    """Whether it is new. Raises UnknownAccount when a parent is not there."""
    for parent in parents:
        if read_account(tx, parent) is None:
            raise UnknownAccount(account=parent)
    row = {"account": account, "parent": " ".join(parents) or None, "cap": min(cap, MOST)}
    dialect: Any = postgresql if tx.postgresql else sqlite
    insert = dialect.insert(accounts).values(row).on_conflict_do_nothing()
    return tx.run(insert.returning(accounts.c.account)).first() is not None


def open_period(tx: Tx, account: AccountId, cap: Nano, carry: Nano) -> None:
    if not open_account(tx, account, cap):
        return
    name: Any = accounts.c.account.collate("C") if tx.postgresql else accounts.c.account
    family = f"{account.rpartition(':')[0]}:"
    before = select(accounts.c.account).where(name > family, name < account).order_by(name.desc()).limit(1)
    previous = tx.run(before).scalar()
    if previous is None:
        return
    balance = lock_balances(tx, [previous])[previous]
    moved = carried(balance, _still_spendable(tx, previous), carry)
    for each, by in ((previous, -moved), (account, moved)):
        tx.run(update(accounts).where(accounts.c.account == each).values(cap=accounts.c.cap + by))


def _still_spendable(tx: Tx, account: str) -> int:
    """By jobs under it that are not closed."""
    among = (literal(" ") + accounts.c.parent + " ").contains(f" {account} ", autoescape=True)
    query = select(func.sum(accounts.c.cap - accounts.c.spent)).join(
        jobs, jobs.c.account == accounts.c.account
    )
    return int(tx.run(query.where(among, jobs.c.state != "closed")).scalar() or 0)


def raise_cap(tx: Tx, account: AccountId, by: Nano) -> None:
    balance = lock_balances(tx, [account]).get(account)
    if balance is None:
        raise UnknownAccount(account=account)
    tx.run(update(accounts).where(accounts.c.account == account).values(cap=min(balance.cap + by, MOST)))


def read_account(tx: Tx, account: AccountId) -> Account | None:
    row = tx.run(select(accounts).where(accounts.c.account == account)).first()
    return None if row is None else account_of(row)


def account_of(row: Any) -> Account:
    values = dict(row._mapping)
    return Account(parents=parents_in(values.pop("parent")), **values)


def held_calls(*conditions: ColumnElement[bool]) -> Select[Any]:
    """What `presume_calls` charges."""
    query = select(calls.c.call_id, calls.c.account, calls.c.amount).where(
        calls.c.state == "held", *conditions
    )
    return query.order_by(calls.c.call_id).with_for_update()


def presume_calls(
    tx: Tx, chains: Chains, held: Select[Any], now: int, parameters: dict[str, Any] | None = None
) -> int:
    """Charge held calls in full: whoever held them is gone, and nobody knows. Returns their number.

    The jobs must be locked, so that no hold slips in.
    """
    found = tx.run(held, parameters).all()
    if not found:
        return 0
    chain_of = {row.account: chains.of(partial(parent_of, tx), row.account) for row in found}
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
