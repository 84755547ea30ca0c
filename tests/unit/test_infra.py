"""What an operator starts names only what there is: commands, settings, files, pinned images; alerts are valid SQL."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from jobs.app import app_for
from pipeline.ledger.sql.tables import metadata
from pipeline.settings import Settings
from pipeline.storage.sql import named

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}  # read by botocore
SETTINGS = {f"TIERWISE_{name.upper()}" for name in Settings.model_fields}


def texts() -> Iterator[tuple[str, str]]:
    for path in sorted(INFRA.rglob("*")):
        if path.is_file():
            yield path.name, path.read_text("utf-8")


def test_every_setting_named_exists() -> None:
    for name, text in texts():
        assert set(re.findall(r"TIERWISE_[A-Z_]+", text)) <= SETTINGS, name
    for service in OURS.values():
        assert set(service["environment"]) <= SETTINGS | AWS


def test_every_command_named_exists() -> None:
    known: Any = get_command(app_for(()))
    for name, service in OURS.items():
        command, *options = service["command"]
        taken = {option for each in known.commands[command].params for option in each.opts}
        assert {option for option in options if option.startswith("--")} <= taken, name
    for name, text in texts():
        for command in re.findall(r"`tierwise (\w+)|run --rm cli (\w+)", text):
            assert (command[0] or command[1]) in known.commands, name


def test_images_are_pinned_to_a_patch() -> None:
    images = [service["image"] for name, service in COMPOSE["services"].items() if name not in OURS]
    images += re.findall(r"^FROM (\S+)", (INFRA / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert len(images) == 9
    for image in images:
        assert re.search(r":v?(\d+\.\d+(\.\d+)?|RELEASE\.[\dTZ-]+)", image), image


def test_no_password_has_a_default_and_each_is_asked_for() -> None:
    text = (INFRA / "compose.yaml").read_text("utf-8")
    example = (INFRA / ".env.example").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert {name for name in asked if "PASSWORD" in name} == set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE)) - {"OPENAI_API_KEY"}
    assert not re.search(r"^\w+=\S", example, re.MULTILINE)


def test_the_image_holds_what_it_copies_and_runs_as_nobody_special() -> None:
    text = (INFRA / "Dockerfile").read_text("utf-8")
    for source in re.findall(r"^COPY (?:--chmod=\d+ )?([\w./]+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert "--require-hashes" in text
    assert re.findall(r"^USER (\d+)", text, re.MULTILINE) == ["10001"]
    assert text.index("USER ") < text.index("ENTRYPOINT")


@pytest.mark.parametrize("name", named((INFRA / "alerts.sql").read_text("utf-8")))
def test_each_alert_is_a_question_to_the_ledger(name: str) -> None:
    """Quiet on an empty ledger; that PostgreSQL takes them too is tested where it runs."""
    from sqlalchemy import create_engine

    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        sql = named((INFRA / "alerts.sql").read_text("utf-8"))[name]
        assert raw.execute(sql, {"now": 2_000_000_000_000} if ":now" in sql else {}).fetchall() == []
    engine.dispose()


def test_what_compose_mounts_exists_and_prometheus_asks_where_the_workers_answer() -> None:
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (INFRA / source).exists(), mount
            elif "$" not in source:
                assert source in COMPOSE["volumes"], mount
    prometheus = yaml.safe_load((INFRA / "prometheus.yaml").read_text("utf-8"))
    (scraped,) = prometheus["scrape_configs"][0]["dns_sd_configs"]
    assert scraped["names"] == ["worker"]
    assert scraped["port"] == COMPOSE["services"]["worker"]["environment"]["TIERWISE_METRICS_PORT"]
    targets = [mount.split(":")[1] for mount in COMPOSE["services"]["prometheus"]["volumes"]]
    assert {f"/etc/prometheus/{rules}" for rules in prometheus["rule_files"]} <= set(targets)


def test_monitoring_is_reached_from_this_machine_alone_and_only_where_it_is_asked_for() -> None:
    for name in ("prometheus", "grafana", "flower"):
        service = COMPOSE["services"][name]
        assert service["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
