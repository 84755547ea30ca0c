"""Money set aside for a group of calls."""

from collections.abc import Sequence

from pipeline.ledger.errors import CallEnded
from pipeline.ledger.rules import Former, Verdict, Wait, decide, key_of, place_of
from pipeline.ledger.sql.hot import Granted, Hot, Seen
from pipeline.ports.ledger import Held, Intent
from schemas.ids import AccountId


def hold_all(
    seen: Seen, intents: Sequence[Intent], waited: int, behind: frozenset[AccountId]
) -> tuple[list[Verdict], list[Granted]]:
    """Decide in order, each seeing what those before it took; also returns what is to be written."""
    blocked: set[AccountId] = set()
    granted: list[Granted] = []
    verdicts: list[Verdict] = []
    for position, intent in enumerate(intents):
        if position == waited:
            blocked.update(behind)
        same = seen.formers.setdefault(key_of(intent), [])
        chain = seen.chains[intent.account]
        verdict = decide(intent, seen.gates.get(place_of(intent)), same, chain, blocked)
        if isinstance(verdict, Held):
            if not same or all(former.call_id != intent.call_id for former in same):
                same.append(Former(intent.call_id, "held", verdict.attempt))
                granted.append((intent, verdict.attempt))
                for balance in chain:
                    balance.move(0, intent.amount, 0)
        elif isinstance(verdict, Wait) and verdict.account is not None:
            blocked.add(verdict.account)
        verdicts.append(verdict)
    return verdicts, granted


def insert_each(hot: Hot, granted: Sequence[Granted], now: int) -> dict[str, Held]:
    """Write holds one by one; those whose intent key is taken get the next free attempt and are returned.

    Raises CallEnded where another request has the call_id.
    """
    moved: dict[str, Held] = {}
    for intent, attempt in granted:
        if hot.insert((intent, attempt), now):
            continue
        if hot.exists(intent.call_id):
            raise CallEnded(call=intent.call_id)
        later = max(intent.attempt, hot.last_attempt(intent) + 1)
        if not hot.insert((intent, later), now):
            raise CallEnded(call=intent.call_id)
        moved[intent.call_id] = Held(intent.call_id, later)
    return moved
