"""Money set aside for a group of calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from pipeline.ledger.errors import CallEnded
from pipeline.ledger.rules import Balance, Former, Gate, Key, Verdict, Wait, decide, key_of
from pipeline.ledger.sql.journal import usage_of
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import calls
from pipeline.ports.ledger import Held, Intent
from schemas.ids import AccountId, CallId


def hold_all(
    tx: Tx,
    chains: Mapping[AccountId, Sequence[Balance]],
    intents: Sequence[Intent],
    waited: int,
    behind: frozenset[AccountId],
    now: int,
) -> list[Verdict]:
    """Decide in order, each seeing what those before it took, and write what was granted."""
    if not intents:
        return []
    gates, formers = _gates(tx, intents), _formers(tx, intents)
    blocked: set[AccountId] = set()
    granted: list[tuple[Intent, int]] = []
    verdicts: list[Verdict] = []
    for position, intent in enumerate(intents):
        if position == waited:
            blocked.update(behind)
        lease, same = intent.lease, formers.setdefault(key_of(intent), [])
        gate = gates.get((lease.job, lease.generation, lease.batch))
        chain = chains[intent.account]
        verdict = decide(intent, gate, same, chain, blocked)
        if isinstance(verdict, Wait):
            blocked.update(() if verdict.account is None else (verdict.account,))
        elif isinstance(verdict, Held) and all(former.call_id != intent.call_id for former in same):
            same.append(Former(intent.call_id, "held", verdict.attempt))
            granted.append((intent, verdict.attempt))
            for balance in chain:
                balance.move(0, intent.amount, 0)
        verdicts.append(verdict)
    moved = _insert(tx, granted, now)
    return [
        moved.get(verdict.call_id, verdict) if isinstance(verdict, Held) else verdict for verdict in verdicts
    ]


def _gates(tx: Tx, intents: Sequence[Intent]) -> dict[tuple[str, int, int], Gate]:
    asked = {(intent.lease.job, intent.lease.generation, intent.lease.batch) for intent in intents}
    rows = tx.rows("gates", len(asked), tuple(value for place in sorted(asked) for value in place))
    return {(row[0], row[1], row[2]): Gate(*row[3:]) for row in rows}


def _formers(tx: Tx, intents: Sequence[Intent]) -> dict[Key, list[Former]]:
    asked = {key_of(intent) for intent in intents}
    formers: dict[Key, list[Former]] = {}
    for job, request_hash, sample, *rest, body in tx.rows(
        "former_calls", len(asked), tuple(value for key in sorted(asked) for value in key)
    ):
        former = Former(*rest[:10])
        former.usage, former.body = usage_of(rest[10:]), None if body is None else bytes(body)
        formers.setdefault((job, bytes(request_hash), sample), []).append(former)
    return formers


def _insert(tx: Tx, granted: Sequence[tuple[Intent, int]], now: int) -> dict[CallId, Held]:
    """Write the holds; those whose intent key was taken get the next free attempt and are returned."""
    if not granted:
        return {}
    values = tuple(value for intent, attempt in granted for value in _row(intent, attempt, now))
    if tx.change("insert_holds", len(granted), values) == len(granted):
        return {}
    names = [intent.call_id for intent, _ in granted]
    query = select(calls.c.call_id, calls.c.job, calls.c.request_hash, calls.c.sample)
    rows: list[Any] = list(tx.run(query.where(calls.c.call_id.in_(names))))
    there = {row[0]: (row[1], bytes(row[2]), row[3]) for row in rows}
    moved: dict[CallId, Held] = {}
    for intent, _ in granted:
        if intent.call_id not in there:
            moved[intent.call_id] = _insert_later(tx, intent, now)
        elif there[intent.call_id] != key_of(intent):
            raise CallEnded(call=intent.call_id)
    return moved


def _insert_later(tx: Tx, intent: Intent, now: int) -> Held:
    lease = intent.lease
    taken = select(func.max(calls.c.attempt)).where(
        calls.c.job == lease.job,
        calls.c.generation == lease.generation,
        calls.c.query_id == intent.query_id,
        calls.c.step == intent.step,
        calls.c.purpose == intent.purpose,
        calls.c.tier == intent.tier,
        calls.c.sample == intent.sample,
    )
    attempt = max(intent.attempt, int(tx.run(taken).scalar_one()) + 1)
    tx.change("insert_holds", 1, _row(intent, attempt, now))
    return Held(intent.call_id, attempt)


def _row(intent: Intent, attempt: int, now: int) -> tuple[object, ...]:
    lease = intent.lease
    return (
        intent.call_id,
        lease.job,
        lease.generation,
        lease.batch,
        lease.fence,
        intent.account,
        intent.query_id,
        intent.step,
        intent.purpose,
        intent.tier,
        intent.model,
        intent.lane,
        intent.sample,
        attempt,
        intent.request_hash,
        intent.amount,
        now,
    )
