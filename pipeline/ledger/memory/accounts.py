"""Accounts in memory, and the chains they form."""

from pipeline.ledger import rules
from pipeline.ledger.errors import UnknownAccount
from pipeline.ledger.rules import Balance
from pipeline.ports.ledger import Account
from schemas.ids import AccountId, Nano


class Accounts:
    def __init__(self) -> None:
        self._balances: dict[AccountId, Balance] = {}
        self._parents: dict[AccountId, AccountId | None] = {}

    def _wake(self) -> None:
        """Money or calls moved: whoever waits may have luck now."""
        raise NotImplementedError

    async def open_account(self, account: AccountId, cap: Nano, parent: AccountId | None = None) -> None:
        if parent is not None and parent not in self._balances:
            raise UnknownAccount(account=parent)
        if account not in self._balances:
            self._balances[account] = Balance(account, min(cap, rules.MOST), 0, 0, 0)
            self._parents[account] = parent

    async def raise_cap(self, account: AccountId, by: Nano) -> None:
        (balance, *_) = self._chain(account)
        balance.cap = min(balance.cap + by, rules.MOST)
        self._wake()

    async def account(self, account: AccountId) -> Account | None:
        balance = self._balances.get(account)
        if balance is None:
            return None
        return Account(
            account=account,
            parent=self._parents[account],
            cap=Nano(balance.cap),
            spent=Nano(balance.spent),
            held=Nano(balance.held),
            presumed=Nano(balance.presumed),
        )

    def _chain(self, account: AccountId) -> list[Balance]:
        if account not in self._balances:
            raise UnknownAccount(account=account)
        chain, name = [], account
        while True:
            chain.append(self._balances[name])
            parent = self._parents[name]
            if parent is None:
                return chain
            name = parent
