"""One transaction for what gathered: all settlements of a group, then all its holds, each kind as a set.

Locks are taken in one order by everyone: jobs, calls, accounts. So no two groups deadlock.
"""

from collections.abc import Sequence

from pipeline.ledger.rules import Verdict
from pipeline.ledger.sql.holding import hold_all
from pipeline.ledger.sql.money import Chains, lock_balances, write_balances
from pipeline.ledger.sql.settling import find, settle_all
from pipeline.ledger.sql.store import Tx
from pipeline.ports.ledger import Intent, Settlement
from schemas.ids import AccountId


def run_group(
    tx: Tx,
    chains: Chains,
    settlements: Sequence[Settlement],
    intents: Sequence[Intent],
    *,
    waited: int,
    behind: frozenset[AccountId],
    now: int,
) -> tuple[list[bool], list[Verdict]]:
    """The first `waited` intents have been waiting; the others come `behind` who waits for these accounts.

    Nothing of the process is changed before the commit, so the whole group can be run again.
    """
    tx.lock_jobs([intent.lease.job for intent in intents])
    told = find(tx, settlements)
    touched = {call.account for call in told.values()} | {intent.account for intent in intents}
    chain_of = {account: chains.of(tx, account) for account in touched}
    balances = lock_balances(tx, {name for chain in chain_of.values() for name in chain})
    groups = {account: [balances[name] for name in chain] for account, chain in chain_of.items()}
    within = settle_all(tx, groups, settlements, told, now)
    verdicts = hold_all(tx, groups, intents, waited, behind, now)
    write_balances(tx, balances.values())
    return within, verdicts
