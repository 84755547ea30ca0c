"""What is left of the money, divided among the batches of a generation. Pure; both ledgers decide here.

A share is an estimate in expected costs: who overdraws it meets the cap at the next hold.
"""

import msgspec

from pipeline.ledger.rules import MOST
from pipeline.ports.ledger import Share, StopReason, Want
from schemas.ids import AccountId, Nano


class Others(msgspec.Struct, frozen=True, kw_only=True):
    """The other open batches of the generation."""

    coming: int  # batches that have not asked, or whose holder is gone
    wants: int  # queries of batches that asked again and wait
    purses: int  # nano-dollars set aside for running batches and perhaps not spent yet


def divide(want: Want, stop: StopReason | None, free: int, tightest: AccountId, others: Others) -> Share:
    """`free`: cap - spent of the tightest account; money that is only held mostly comes back."""
    if stop is not None:  # the holds will tell everyone why
        return Share(amount=want.most, later=False, free=Nano(MOST), tightest=tightest)
    amount = _part(want, free, others)
    if amount < want.least or free < want.hold:
        amount = 0
    later = amount == 0 and not others.coming and others.purses > 0 and free >= want.hold and want.queries > 0
    return Share(amount=Nano(amount), later=later, free=Nano(max(0, free)), tightest=tightest)


def _part(want: Want, free: int, others: Others) -> int:
    """Whoever asks again had its part: first those who had none."""
    if not want.queries or (want.again and others.coming):
        return 0
    everyone = want.queries + others.wants + others.coming * want.rows
    return min(want.most, max(0, free - others.purses) * want.queries // everyone)


def entry(want: Want, share: Share) -> tuple[int, int]:
    """What is noted of the batch: queries that wait, money set aside."""
    return want.queries if share.later else 0, share.amount
