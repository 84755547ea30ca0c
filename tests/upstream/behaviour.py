"""How the upstream behaves at the moment: what the control endpoint may change while it runs."""

import math

import msgspec

from tests.upstream.chaos import Chaos, ChaosError, Kind
from tests.upstream.config import UpstreamConfig
from tests.upstream.keyed import unit
from tests.upstream.limiter import TokenBucket


class ControlChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /control: only what is named changes; `shares` replaces all shares."""

    latency_ms: float | msgspec.UnsetType = msgspec.UNSET
    jitter_ms: float | msgspec.UnsetType = msgspec.UNSET
    model_latency_ms: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    shares: dict[Kind, float] | msgspec.UnsetType = msgspec.UNSET
    script: list[Kind] | msgspec.UnsetType = msgspec.UNSET  # kinds of the next requests, in order
    error_status: int | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: float | msgspec.UnsetType = msgspec.UNSET
    rate_limit_rps: float | msgspec.UnsetType | None = msgspec.UNSET  # null: no limit
    burst: int | msgspec.UnsetType | None = msgspec.UNSET
    bill_500: bool | msgspec.UnsetType = msgspec.UNSET
    down: bool | msgspec.UnsetType = msgspec.UNSET  # connections are refused


class Behaviour:
    """The live settings."""

    def __init__(self, config: UpstreamConfig, *, now: float) -> None:
        self.seed = config.seed
        self.latency_ms = config.latency_ms
        self.jitter_ms = config.jitter_ms
        self.model_latency_ms = dict(config.model_latency_ms)
        self.error_status = config.error_status
        self.retry_after_s = config.retry_after_s
        self.bill_500 = config.bill_500
        self.rate_limit_rps = config.rate_limit_rps
        self.burst = config.burst
        self.chaos = Chaos(seed=config.seed, shares=config.shares)
        self.chaos.script(config.script)
        self.limiter = self._bucket(now)

    def change(self, change: ControlChange, *, now: float) -> None:
        """Apply a change, or ChaosError and nothing changed."""
        if change.error_status not in (msgspec.UNSET, 500, 502, 503, 504):
            raise ChaosError("error_status is one of 500, 502, 503, 504")
        if isinstance(change.rate_limit_rps, float) and change.rate_limit_rps <= 0:
            raise ChaosError("rate_limit_rps is above 0, or null")
        if change.shares is not msgspec.UNSET:
            self.chaos.share(change.shares)
        if change.script is not msgspec.UNSET:
            self.chaos.script(change.script)
        for name in _PLAIN:
            value = getattr(change, name)
            if value is not msgspec.UNSET:
                setattr(self, name, value)
        if change.rate_limit_rps is not msgspec.UNSET or change.burst is not msgspec.UNSET:
            self.limiter = self._bucket(now)

    def latency_s(self, model: str | None, number: int) -> float:
        """The latency of this request."""
        fixed = self.latency_ms if model is None else self.model_latency_ms.get(model, self.latency_ms)
        jitter = self.jitter_ms * unit(self.seed, "latency", number) if self.jitter_ms else 0.0
        return (fixed + jitter) / 1000

    def _bucket(self, now: float) -> TokenBucket | None:
        if self.rate_limit_rps is None:
            return None
        burst = self.burst if self.burst is not None else max(1, math.ceil(self.rate_limit_rps))
        return TokenBucket(rate=self.rate_limit_rps, burst=burst, now=now)


_PLAIN = (
    "latency_ms",
    "jitter_ms",
    "model_latency_ms",
    "error_status",
    "retry_after_s",
    "rate_limit_rps",
    "burst",
    "bill_500",
)
