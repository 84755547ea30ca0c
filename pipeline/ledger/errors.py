"""What can be wrong with a request to the ledger itself."""

from schemas.errors import TierwiseError


class UnknownAccount(TierwiseError):
    """There is no account {account!r} in this ledger. Nothing was held."""

    fix = "Open it, and its parent before it."


class UnknownCall(TierwiseError):
    """Call {call!r} was never held, so it cannot be settled."""


class CallEnded(TierwiseError):
    """Call {call!r} was held before and has ended; nothing was held again."""

    fix = "Draw a new call_id for every call."
