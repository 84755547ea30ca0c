"""The endpoints: what is billed, what goes wrong, and when the reply leaves."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from tests.upstream.behaviour import Behaviour, ControlChange
from tests.upstream.chaos import ChaosError, Kind
from tests.upstream.config import UpstreamConfig
from tests.upstream.errors import LimitedError, RefusedError, error_body
from tests.upstream.http1 import Connection, Request, RequestError
from tests.upstream.meter import Bill, Endpoint, Meter
from tests.upstream.pricing import Price
from tests.upstream.replies import Prepared, Replies, decode
from tests.upstream.traffic import Traffic
from tests.upstream.wire import Model, ModelList

_CONTROL = msgspec.json.Decoder(ControlChange)
_Handler = Callable[[Connection, Request], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request to a paid endpoint, on its way to a reply."""

    connection: Connection
    number: int  # 1, 2, 3 … since the start
    arrived: float  # loop clock, seconds
    endpoint: Endpoint
    key: str | None
    model: str | None = None  # None only where nothing is metered
    kind: Kind = "ok"


class Service:
    """Answers requests; `set_down` opens and closes the public door."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        replies: Replies,
        prices: dict[str, Price],
        meter: Meter,
        set_down: Callable[[bool, Connection], None],
    ) -> None:
        self._prices = prices
        self._meter = meter
        self._set_down = set_down
        self._loop = asyncio.get_running_loop()
        self._behaviour = Behaviour(config, now=self._loop.time())
        self._traffic = Traffic()
        self._bearer = None if config.api_key is None else b"Bearer " + config.api_key.encode()
        self._routes: dict[tuple[bytes, bytes], _Handler] = {
            (b"POST", b"/v1/chat/completions"): partial(self._paid, "chat", replies.chat),
            (b"POST", b"/v1/embeddings"): partial(self._paid, "embeddings", replies.embeddings),
            (b"GET", b"/v1/models"): self._models,
            (b"GET", b"/control/stats"): self._stats,
            (b"POST", b"/control"): self._control,
        }

    def handle(self, connection: Connection, request: Request) -> None:
        """Route a request."""
        route = self._routes.get((request.method, request.path))
        try:
            if self._bearer is not None and request.path.startswith(b"/v1/"):
                self._check_key(request)
            if route is None:
                raise RefusedError(404, "no such method and path here")
            route(connection, request)
        except RefusedError as refused:
            connection.reply(refused.status, refused.body)

    def refuse(self, connection: Connection, bad: RequestError) -> None:
        """Answer a request that could not be read."""
        connection.refuse(bad.status, error_body(bad.status, str(bad)))

    def _check_key(self, request: Request) -> None:
        if request.headers.get(b"authorization") != self._bearer:
            raise RefusedError(401, "Incorrect API key provided.", code="invalid_api_key")

    def _paid(
        self,
        endpoint: Endpoint,
        prepare: Callable[[bytes], Prepared],
        connection: Connection,
        request: Request,
    ) -> None:
        call = Call(
            connection=connection,
            number=self._traffic.begin(),
            arrived=self._loop.time(),
            endpoint=endpoint,
            key=request.headers.get(b"idempotency-key", b"").decode("latin-1") or None,
        )
        connection.on_end = self._traffic.end
        try:
            self._pass_limit(call)
            self._serve(call, prepare(request.body))
        except RefusedError as refused:
            self._reply(call, refused.status, refused.body)
        except LimitedError as limited:
            self._reply_limited(call, limited.wait_s)

    def _pass_limit(self, call: Call) -> None:
        limiter = self._behaviour.limiter
        wait_s = limiter.wait_s(call.arrived) if limiter is not None else 0.0
        if wait_s:
            raise LimitedError(wait_s)

    def _serve(self, call: Call, prepared: Prepared) -> None:
        """Draw what goes wrong, bill, and plan the reply."""
        kind = self._behaviour.chaos.draw(call.number)
        if kind == "rate_limited":
            raise LimitedError(self._behaviour.retry_after_s)
        self._traffic.by_kind[kind] += 1
        call = replace(call, kind=kind, model=prepared.model)
        if kind == "cut_before":
            call.connection.cut()
        elif kind == "server_error" and not self._behaviour.bill_500:
            self._when_due(call, partial(self._send, call, b""))
        else:
            self._bill(call, prepared)

    def _bill(self, call: Call, prepared: Prepared) -> None:
        """No byte of the reply is sent before its line is durable."""
        completion = prepared.build(call.kind, call.number)
        due = partial(self._when_due, call, partial(self._send, call, completion.body))
        if call.model is None:
            due()
            return
        bill = Bill(
            key=call.key,
            endpoint=call.endpoint,
            outcome=call.kind,
            model=call.model,
            tokens=completion.tokens,
            nano=self._prices[call.model].cost_nano(completion.tokens),
        )
        self._meter.append(bill, due)

    def _when_due(self, call: Call, send: Callable[[], None]) -> None:
        """Send once the latency has passed since the request was read."""
        due = call.arrived + self._behaviour.latency_s(call.model, call.number)
        if due <= self._loop.time():
            send()
        else:
            self._loop.call_at(due, send)

    def _send(self, call: Call, body: bytes) -> None:
        match call.kind:
            case "hang":
                return
            case "cut_after":
                call.connection.cut()
            case "cut_body":
                call.connection.cut_body(200, body)
            case "malformed_json":
                self._reply(call, 200, body[: len(body) // 2])
            case "server_error":
                status = self._behaviour.error_status
                self._reply(call, status, error_body(status, "The server had an error."))
            case _:
                self._reply(call, 200, body)

    def _reply_limited(self, call: Call, wait_s: float) -> None:
        self._traffic.by_kind["rate_limited"] += 1
        extra = b"Retry-After: %d\r\nretry-after-ms: %d\r\n" % (math.ceil(wait_s), math.ceil(wait_s * 1000))
        self._reply(call, 429, error_body(429, "Rate limit reached.", code="rate_limit_exceeded"), extra)

    def _reply(self, call: Call, status: int, body: bytes, extra: bytes = b"") -> None:
        if call.connection.is_open:
            self._traffic.answer(status)
            call.connection.reply(status, body, extra)

    def _models(self, connection: Connection, request: Request) -> None:
        models = ModelList([Model(name) for name in sorted(self._prices)])
        connection.reply(200, msgspec.json.encode(models))

    def _stats(self, connection: Connection, request: Request) -> None:
        connection.reply(200, msgspec.json.encode(self._traffic.stats(self._meter)))

    def _control(self, connection: Connection, request: Request) -> None:
        change = decode(_CONTROL, request.body)
        try:
            self._behaviour.change(change, now=self._loop.time())
        except ChaosError as error:
            raise RefusedError(400, str(error)) from error
        if change.down is msgspec.UNSET:
            connection.reply(200, b"{}")
        else:
            self._set_down(change.down, connection)
