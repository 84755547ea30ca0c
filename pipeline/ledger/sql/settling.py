"""What became of a group of calls: money moved, replies journalled, jobs halted."""

from collections.abc import Sequence

from pipeline.ledger.rules import Effect, effect_of, is_reply
from pipeline.ledger.sql.hot import Seen, Told
from pipeline.ports.ledger import Settlement
from schemas.ids import JobId


def settle_all(seen: Seen, settlements: Sequence[Settlement]) -> tuple[list[bool], set[JobId]]:
    """Whether each settlement stayed within its hold, and the jobs that a broken hold halts."""
    within = []
    for settlement in settlements:
        call = seen.told[settlement.call_id]
        effect = effect_of(
            settlement, state=call.state, amount=call.amount, charged=call.charged, replied=call.replied
        )
        if effect is not None:
            _change(call, settlement, effect)
            for balance in seen.chains[call.account]:
                balance.move(effect.spent, effect.held, effect.presumed)
        within.append(call.charged <= call.amount)
    if all(within):
        return within, set()
    changed = [call for call in seen.told.values() if call.news is not None]
    return within, {call.job for call in changed if call.charged > call.amount}


def _change(call: Told, settlement: Settlement, effect: Effect) -> None:
    call.state, call.charged, call.news = effect.state, effect.cost, settlement
    call.replied = call.replied or is_reply(settlement.outcome, settlement.body)
    if settlement.body is not None:
        call.body = settlement.body
