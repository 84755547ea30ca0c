"""What an upstream is told at its start."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.upstream.chaos import ChaosError, Kind, check_shares
from tests.upstream.pricing import read_entries


class ConfigError(ValueError):
    """A configuration that cannot be served; nothing was started."""


@dataclass(frozen=True, kw_only=True)
class UpstreamConfig:
    """Options, under the same names in a config file and (with dashes) on the command line."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free port
    outcomes: str | None = None  # parquet file of recorded outcomes
    dataset: tuple[str, ...] = ()  # datasets to load, by full name or the part after the slash; empty: all
    models: tuple[str, ...] = ()  # models to serve; empty: all the source knows
    rule: Literal["echo-label", "free-text"] | None = None  # answers without an outcomes file
    labels: tuple[str, ...] = ()  # of the rule
    accuracy: dict[str, float] = field(default_factory=dict)  # of the rule: model -> share of right answers
    default_answer: str | None = None  # for documents the source does not know
    fixed_reply: str | None = None  # one content for everything: benchmarks
    embedding_models: tuple[str, ...] = ()  # models of /v1/embeddings
    prices: str | dict[str, dict[str, str]] | None = None  # JSON file or table: model -> class -> USD
    free: bool = False  # models without a price cost nothing
    meter: str | None = None  # JSONL file, appended to
    no_meter: bool = False  # bill nobody
    bill_500: bool = False  # server errors are metered
    api_key: str | None = None  # required as a bearer token
    seed: int = 0  # of every draw
    latency_ms: float = 0.0  # from the request's last byte to the reply's first
    jitter_ms: float = 0.0  # up to this much more, uniform
    model_latency_ms: dict[str, float] = field(default_factory=dict)  # model -> instead of latency_ms
    shares: dict[Kind, float] = field(default_factory=dict)  # what goes wrong, as fractions of the requests
    script: tuple[Kind, ...] = ()  # kinds of the first requests, before the shares rule
    error_status: int = 500  # of server_error
    retry_after_s: float = 1.0  # of rate_limited by share
    rate_limit_rps: float | None = None  # hard limit, requests per second
    burst: int | None = None  # its bucket; None: one second's worth
    cached_prefix_tokens: int = 0  # input tokens cached once a system message is known
    reasoning_tokens: dict[str, int] = field(default_factory=dict)  # model -> hidden tokens of every answer
    overbill_tokens: int = 1000  # of overbill: tokens over the request's limit
    exit_with_stdin: bool = False  # end when standard input closes, so as not to outlive a killed parent

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ConfigError(problem)

    def price_entries(self) -> Mapping[str, Mapping[str, str]]:
        """The price table, read if it is a file."""
        if isinstance(self.prices, str):
            return read_entries(Path(self.prices))
        return self.prices or {}

    def to_json(self) -> str:
        """The config file that gives this config."""
        return json.dumps(asdict(self))


def config_from(values: Mapping[str, Any]) -> UpstreamConfig:
    """A config from plain values; ConfigError names an unknown option or a wrong type."""
    unknown = sorted(set(values) - {option.name for option in fields(UpstreamConfig)})
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]!r}")
    try:
        return msgspec.convert(dict(values), UpstreamConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error


def read_config(path: Path) -> dict[str, Any]:
    """The raw values of a JSON config file."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: want an object of options")
    return values


def _problems(config: UpstreamConfig) -> list[str]:
    sources = [name for name in ("outcomes", "rule", "fixed_reply") if getattr(config, name) is not None]
    problems = []
    if len(sources) != 1:
        problems.append(f"give one source of answers: outcomes, rule or fixed_reply; got {sources or 'none'}")
    if config.rule and (len(set(config.labels)) < 2 or not config.accuracy):
        problems.append("the rule needs two labels or more, and an accuracy for each model")
    if config.meter is not None and config.no_meter:
        problems.append("name a meter file or say no_meter, not both")
    if config.rate_limit_rps is not None and config.rate_limit_rps <= 0:
        problems.append("rate_limit_rps is above 0, or left out")
    if config.error_status not in (500, 502, 503, 504):
        problems.append("error_status is one of 500, 502, 503, 504")
    try:
        check_shares(config.shares)
    except ChaosError as error:
        problems.append(str(error))
    return problems
