"""Settings of a process: `tierwise.toml` in the working directory, then TIERWISE_* from the environment."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline.monitoring.logs import Form, Level
from schemas.errors import Problem, SpecError
from schemas.secrets import holds_secret

FILE = "tierwise.toml"


class Settings(BaseSettings):
    """Where things are. Credentials in URLs come from the environment alone, never from the file."""

    model_config = SettingsConfigDict(env_prefix="TIERWISE_", toml_file=FILE, extra="forbid", frozen=True)

    lake: str = "lake"  # folder or s3://bucket/prefix?endpoint_url=…&region=…
    ledger: str = (
        ""  # sqlite:///file or postgresql://…; default: a SQLite file beside the tables of a local lake
    )
    broker: str = ""  # amqp://… or redis://…; only for submit and worker
    queue: str = "tierwise"
    lease_seconds: float = 60
    batch_minutes: float = 10
    visibility_seconds: int = 900  # Redis only: must exceed the longest batch
    batches_in_flight: int = 4  # per process
    events: bool = False  # workers tell the broker of each task, for Flower
    trace_calls: float = 0.01  # share of the calls that become spans, where traces are collected
    log: Form = "text"  # or json: one object a line
    log_level: Level = "info"  # or debug, warning, error
    metrics_port: int | None = None  # of a worker's Prometheus endpoint; none unless it is set
    metrics_host: str = "127.0.0.1"  # that it listens on

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def lake_uri(self) -> str:
        return self.lake if "://" in self.lake else str(Path(self.lake).absolute())

    def ledger_url(self) -> str:
        if self.ledger:
            return self.ledger
        folder = (
            Path(".tierwise").absolute() if "://" in self.lake_uri() else Path(self.lake_uri()) / "_ledger"
        )
        return f"sqlite:///{folder / 'ledger.db'}"


def _refuse_secrets(source: str, values: Mapping[str, object]) -> None:
    """Files are copied and command lines are seen by every user of the machine."""
    if names := [name for name, value in values.items() if holds_secret(str(value))]:
        fix = "Set {} in the environment instead."
        problems = [
            Problem(name, "holds a password", fix.format(f"TIERWISE_{name.upper()}")) for name in names
        ]
        raise SpecError(source, problems)


def read_settings(**overrides: str | None) -> Settings:
    """Raises SpecError naming each bad setting, or what is no TOML."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        _refuse_secrets(FILE, TomlConfigSettingsSource(Settings)())
        _refuse_secrets("the command line", given)
        return Settings(**given)  # type: ignore[arg-type]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = Problem("(file)", f"is not TOML: {error}", "Correct the syntax.")
        raise SpecError(FILE, [problem]) from None
    except ValidationError as error:
        problems = [Problem(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        source = FILE if os.path.exists(FILE) else "TIERWISE_*"
        raise SpecError(source, problems) from None
