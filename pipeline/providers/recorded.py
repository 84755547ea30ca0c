"""A tier that answers what a model once answered, at what that cost: real routing without a wire."""

from typing import Any

import msgspec

from pipeline.providers.outcomes import Outcome, OutcomesFile, Rows
from schemas.errors import UnpricedModel
from schemas.ids import CallId, Nano
from schemas.money import Price, Usage
from schemas.records import Completion, FinishReason, Reply, Request


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked for: by the text itself, or by query where the text is not the recorded one."""

    dataset: str
    model: str
    text: str | None = None
    query_id: str | None = None


class _Recorded(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost: int
    confidence: float | None


_BODY = msgspec.json.Decoder(_Body)
_RECORDED = msgspec.json.Decoder(_Recorded)


class RecordedProvider:
    """Bills through the ledger like a remote tier, but sends nothing.

    Costs as recorded; where none was, tokens x `price`, with tokens as recorded or else a quarter of the
    bytes. `bound` is the very cost. A query that was not recorded gets a 404, which costs nothing.
    """

    local = False

    def __init__(
        self, *, tier: str, outcomes: OutcomesFile, dataset: str, model: str, price: Price | None = None
    ) -> None:
        self.model = model
        self._tier, self._outcomes, self._dataset, self._price = tier, outcomes, dataset, price

    def check(self) -> None:
        """Raise InputError for a file without these outcomes, UnpricedModel where a cost cannot be told."""
        for outcome in self._rows().by_query.values():
            self._cost(outcome)

    def encode(self, request: Request) -> bytes:
        rows = self._rows()
        by_query = request.user not in rows.by_text and request.query_id in rows.by_query
        body = _Body(
            dataset=self._dataset,
            model=self.model,
            text=None if by_query else request.user,
            query_id=request.query_id if by_query else None,
        )
        return msgspec.json.encode(body)

    def bound(self, request: Request) -> Nano:
        """Exactly what it will cost; 0 for a query that was not recorded. Raises UnpricedModel."""
        rows = self._rows()
        outcome = rows.by_text.get(request.user) or rows.by_query.get(request.query_id)
        return Nano(0) if outcome is None else self._cost(outcome)

    async def send(self, body: bytes, key: CallId) -> Reply:
        """Takes no time; `latency_ms` is the recorded one."""
        asked = _BODY.decode(body)
        rows = self._rows()
        outcome = rows.by_query.get(asked.query_id) if asked.query_id else rows.by_text.get(asked.text or "")
        if outcome is None:
            return Reply(status=404, error="no such query was recorded")
        recorded = _Recorded(
            text=outcome.response or "",
            finish_reason="malformed" if outcome.response is None else "stop",
            usage=outcome.usage,
            cost=self._cost(outcome),
            confidence=outcome.confidence,
        )
        return Reply(status=200, body=msgspec.json.encode(recorded), latency_ms=outcome.latency_ms)

    def read(self, body: bytes) -> Completion:
        try:
            recorded = _RECORDED.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Completion(text="", finish_reason="malformed")
        fields: dict[str, Any] = msgspec.structs.asdict(recorded)
        return Completion(**fields)

    def cost(self, completion: Completion) -> Nano | None:
        return completion.cost

    async def close(self) -> None:
        """Nothing is open."""

    def _rows(self) -> Rows:
        return self._outcomes.rows(self._dataset, self.model)

    def _cost(self, outcome: Outcome) -> Nano:
        if outcome.cost is not None:
            return Nano(outcome.cost)
        if self._price is None:
            why = f"{self._outcomes.path} records no cost for every query"
            raise UnpricedModel(tier=self._tier, model=self.model, why=why)
        return self._price.cost(outcome.usage)
