"""Which accounts a hold must fit in, from the account itself to the root."""

from collections.abc import Callable, Iterable, Sequence

from pipeline.ledger.errors import UnknownAccount
from schemas.ids import AccountId

Chain = tuple[AccountId, ...]
Parent = Callable[[str], Sequence[str | None] | None]  # the parent of an account; None: no such account


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
    name: str | None = account
    while name is not None:
        row = parent(name)
        if row is None:
            raise UnknownAccount(account=name)
        yield AccountId(name)
        name = row[0]
