"""Accounts in memory, and the chains they form."""

from pipeline.ledger import rules
from pipeline.ledger.errors import UnknownAccount
from pipeline.ledger.rules import Balance
from pipeline.ports.ledger import Account
from schemas.ids import AccountId, Nano


class Accounts:
    def __init__(self) -> None:
        self._balances: dict[AccountId, Balance] = {}
        self._parents: dict[AccountId, tuple[AccountId, ...]] = {}

    def _wake(self) -> None:
        """Money or calls moved: whoever waits may have luck now."""
        raise NotImplementedError

    async def open_account(self, account: AccountId, cap: Nano, *parents: AccountId) -> None:
        for parent in parents:
            if parent not in self._balances:
                raise UnknownAccount(account=parent)
        if account not in self._balances:
            self._balances[account] = Balance(account, min(cap, rules.MOST), 0, 0, 0)
            self._parents[account] = parents

    async def open_period(self, account: AccountId, cap: Nano, carry: Nano) -> None:
        if account in self._balances:
            return
        family = f"{account.rpartition(':')[0]}:"
        earlier = [name for name in self._balances if family < name < account]
        await self.open_account(account, cap)
        if earlier:
            previous = self._balances[max(earlier)]
            moved = rules.carried(previous, self._still_spendable(previous.account), carry)
            previous.cap -= moved
            self._balances[account].cap += moved

    def _still_spendable(self, account: AccountId) -> int:
        """By jobs under it that are not closed."""
        raise NotImplementedError

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
            parents=self._parents[account],
            cap=Nano(balance.cap),
            spent=Nano(balance.spent),
            held=Nano(balance.held),
            presumed=Nano(balance.presumed),
        )

    def _chain(self, account: AccountId) -> list[Balance]:
        if account not in self._balances:
            raise UnknownAccount(account=account)
        names = [account]
        for name in names:  # which grows meanwhile
            names += [each for each in self._parents[name] if each not in names]
        return [self._balances[name] for name in names]
