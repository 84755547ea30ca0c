"""Which accounts a hold must fit in: the account itself, its parents, theirs."""

from collections.abc import Callable, Iterable, Sequence

from pipeline.ledger.errors import UnknownAccount
from schemas.ids import AccountId

Chain = tuple[AccountId, ...]
Parent = Callable[
    [str], Sequence[str | None] | None
]  # an account's parents in one column; None: no such account


class Chains:
    """Chains that were read once are kept: parents never change."""

    def __init__(self) -> None:
        self._known: dict[str, Chain] = {}

    def of(self, parent: Parent, account: str) -> Chain:
        """Raises UnknownAccount."""
        known = self._known.get(account)
        if known is None:
            known = self._known[account] = tuple(_ancestors(parent, account))
        return known


def _ancestors(parent: Parent, account: str) -> Iterable[AccountId]:
    names = [AccountId(account)]
    for name in names:  # which grows meanwhile
        row = parent(name)
        if row is None:
            raise UnknownAccount(account=name)
        names += [each for each in parents_in(row[0]) if each not in names]
    return names


def parents_in(column: str | None) -> tuple[AccountId, ...]:
    """As `accounts.parent` holds them."""
    return tuple(map(AccountId, (column or "").split()))
