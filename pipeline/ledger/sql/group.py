"""One transaction for what gathered: all settlements of a group, then all its holds, each kind as a set.

Locks are taken in one order by everyone: jobs, calls, accounts. So no two groups deadlock.
"""

from collections.abc import Sequence

from pipeline.ledger.rules import Verdict
from pipeline.ledger.sql.holding import hold_all, insert_each
from pipeline.ledger.sql.hot import Hot, Written
from pipeline.ledger.sql.settling import settle_all
from pipeline.ports.ledger import Held, Intent, Settlement
from schemas.ids import AccountId


def run_group(
    hot: Hot,
    settlements: Sequence[Settlement],
    intents: Sequence[Intent],
    *,
    waited: int,
    behind: frozenset[AccountId],
    now: int,
    careful: bool = False,
) -> tuple[list[bool], list[Verdict]]:
    """The first `waited` intents have been waiting; the others come `behind` who waits for these accounts.

    `careful`: holds are written one by one, so that one that collides gets another attempt. Raises Conflict
    where that is needed. Nothing of the process is changed before the commit: a group can be run again.
    """
    seen = hot.look(settlements, intents)
    within, halted = settle_all(seen, settlements)
    verdicts, granted = hold_all(seen, intents, waited, behind)
    if careful:
        moved = insert_each(hot, granted, now)
        verdicts = [
            moved.get(verdict.call_id, verdict) if isinstance(verdict, Held) else verdict
            for verdict in verdicts
        ]
        granted = []
    hot.write(seen, Written(now, granted, list(seen.told.values()), halted))
    return within, verdicts
