"""Traces over OTLP, by OpenTelemetry's own settings (OTEL_*). Calls have the names of its GenAI conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.monitoring.logs import about
from pipeline.ports.ledger import CallRow

PROVIDERS = {"bedrock": "aws.bedrock"}  # as the conventions call them
_HEADERS = TraceContextTextMapPropagator()  # https://www.w3.org/TR/trace-context/


class OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, **attributes: str | int) -> None:
        self._span.set_attributes(_named(attributes))


class OtelTracer:
    """`share` of the calls become spans: which ones hangs on their ids alone."""

    def __init__(self, share: float) -> None:
        self._most = int(share * 2**32)

    @cached_property
    def _provider(self) -> TracerProvider:
        """Begun with the first span: a command that has none starts no thread."""
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "tierwise"}
        provider = TracerProvider(resource=Resource.create(named))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return provider

    @cached_property
    def _tracer(self) -> trace.Tracer:
        return self._provider.get_tracer("tierwise")

    @contextmanager
    def span(self, name: str, **attributes: str | int) -> Iterator[OtelSpan]:
        with (
            self._tracer.start_as_current_span(name, attributes=_named(attributes)) as span,
            about(trace_id=trace.format_trace_id(span.get_span_context().trace_id)),
        ):
            yield OtelSpan(span)

    def calls(self, calls: Sequence[CallRow], providers: Mapping[str, str]) -> None:
        for call in calls:
            if call.sent_at and self._is_told(call):
                self._tell(call, providers.get(call.tier, "openai"))

    def _is_told(self, call: CallRow) -> bool:
        return int.from_bytes(blake2b(call.call_id.encode(), digest_size=4).digest()) < self._most

    def _tell(self, call: CallRow, provider: str) -> None:
        usage, begun = call.usage, call.sent_at * 1_000_000
        operation = "embeddings" if call.purpose == "embed" else "chat"
        attributes: dict[str, str | int | Sequence[str]] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": call.model,
            "gen_ai.usage.input_tokens": usage.input + usage.cached_input + usage.cache_write,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_input,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
            "gen_ai.usage.output_tokens": usage.output + usage.reasoning,
            **_named({"tier": call.tier, "purpose": call.purpose, "query_id": call.query_id}),
            **_named({"call_id": call.call_id, "attempt": call.attempt, "cost_nano_usd": call.cost}),
            **_named({"outcome": call.outcome or "held"}),
        }
        if call.finish_reason:
            attributes["gen_ai.response.finish_reasons"] = [call.finish_reason]
        span = self._tracer.start_span(
            f"{operation} {call.model}", kind=trace.SpanKind.CLIENT, attributes=attributes, start_time=begun
        )
        if call.outcome != "ok":
            span.set_attribute("error.type", call.outcome or "held")
            span.set_status(trace.StatusCode.ERROR, call.error or None)
        span.end(begun + call.latency_ms * 1_000_000)

    @contextmanager
    def within(self, headers: Mapping[str, str]) -> Iterator[None]:
        token = context.attach(_HEADERS.extract(headers))
        try:
            yield
        finally:
            context.detach(token)

    def headers(self) -> dict[str, str]:
        carried: dict[str, str] = {}
        _HEADERS.inject(carried)
        return carried

    def close(self) -> None:
        """Sends what is there."""
        if "_provider" in self.__dict__:
            self._provider.shutdown()


def _named(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"tierwise.{name}": value for name, value in attributes.items()}
