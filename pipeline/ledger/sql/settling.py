"""What became of a group of calls: money moved, replies journalled, jobs halted."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import update

from pipeline.ledger.errors import UnknownCall
from pipeline.ledger.rules import COMPLETE, Balance, CallState, Effect, effect_of, is_reply
from pipeline.ledger.sql.store import Tx
from pipeline.ledger.sql.tables import jobs
from pipeline.ports.ledger import Settlement
from schemas.ids import AccountId, CallId, JobId


class Told(msgspec.Struct):
    """A call as the journal has it, and the last settlement that changed it."""

    call_id: CallId
    job: JobId
    account: AccountId
    state: CallState
    amount: int
    charged: int
    replied: bool
    news: Settlement | None = None
    body: bytes | None = None


def find(tx: Tx, settlements: Sequence[Settlement]) -> dict[CallId, Told]:
    """The calls that are to be settled, locked. Raises UnknownCall."""
    if not settlements:
        return {}
    call_ids = tuple(sorted({settlement.call_id for settlement in settlements}))
    told: dict[CallId, Told] = {}
    rows = tx.rows("calls_to_settle", len(call_ids), call_ids)
    for call_id, job, account, state, amount, charged, outcome, has_body in rows:
        replied = bool(has_body) and outcome in COMPLETE
        told[call_id] = Told(call_id, job, account, state, amount, charged, replied)
    for call_id in call_ids:
        if call_id not in told:
            raise UnknownCall(call=call_id)
    return told


def settle_all(
    tx: Tx,
    chains: Mapping[AccountId, Sequence[Balance]],
    settlements: Sequence[Settlement],
    told: Mapping[CallId, Told],
    now: int,
) -> list[bool]:
    """Whether each settlement stayed within its hold."""
    within = []
    for settlement in settlements:
        call = told[settlement.call_id]
        effect = effect_of(
            settlement, state=call.state, amount=call.amount, charged=call.charged, replied=call.replied
        )
        if effect is not None:
            _change(call, settlement, effect)
            for balance in chains[call.account]:
                balance.move(effect.spent, effect.held, effect.presumed)
        within.append(call.charged <= call.amount)
    _journal(tx, told.values(), now)
    broken = {call.job for call in told.values() if call.charged > call.amount and call.news is not None}
    if broken:
        tx.run(update(jobs).where(jobs.c.job.in_(sorted(broken))).values(stop="over_hold"))
    return within


def _change(call: Told, settlement: Settlement, effect: Effect) -> None:
    call.state, call.charged, call.news = effect.state, effect.cost, settlement
    call.replied = call.replied or is_reply(settlement.outcome, settlement.body)
    if settlement.body is not None:
        call.body = settlement.body


def _journal(tx: Tx, told: Iterable[Told], now: int) -> None:
    rows = [_row(call, call.news, now) for call in told if call.news is not None]
    if rows:
        tx.change("journal", len(rows), tuple(value for row in rows for value in row))


def _row(call: Told, news: Settlement, now: int) -> tuple[object, ...]:
    usage = news.usage
    return (
        call.call_id,
        call.state,
        call.charged,
        news.outcome,
        news.finish_reason,
        usage.input,
        usage.cached_input,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        news.latency_ms,
        news.sent_at,
        printable(news.error),
        now,
        call.body,
    )


def printable(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogate."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
