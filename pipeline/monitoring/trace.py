"""Where a batch's time goes, for those who collect traces. Nobody does unless OTEL_EXPORTER_OTLP_ENDPOINT is set."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from pipeline.ports.ledger import CallRow


class Span(Protocol):
    def set(self, **attributes: str | int) -> None: ...


class Tracer(Protocol):
    def span(self, name: str, **attributes: str | int) -> AbstractContextManager[Span]:
        """What runs inside is a part of what runs around it."""
        ...

    def calls(self, calls: Sequence[CallRow], providers: Mapping[str, str]) -> None:
        """A share of the calls as spans, told after the fact. `providers`: of each tier."""
        ...

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """What runs inside belongs to the trace that a message came from."""
        ...

    def headers(self) -> dict[str, str]:
        """What a message carries so that its work belongs to this trace."""
        ...

    def close(self) -> None: ...


class NoSpan:
    def set(self, **attributes: str | int) -> None:
        """Nobody looks."""


class NoTracer:
    """Costs next to nothing."""

    def span(self, name: str, **attributes: str | int) -> AbstractContextManager[Span]:
        return nullcontext(NoSpan())

    def calls(self, calls: Sequence[CallRow], providers: Mapping[str, str]) -> None:
        return None

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        return nullcontext()

    def headers(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        return None


UNTRACED = NoTracer()
