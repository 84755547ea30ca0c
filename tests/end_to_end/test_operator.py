"""What infra/ starts, started here without containers: the same environment, the same commands; and SQS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, Executable, Table, create_engine, text

from pipeline.ledger.sql import tables
from pipeline.storage.sql import named
from pipeline.wiring.services import now_ms
from tests.end_to_end.command import ROOT, Tierwise, workers
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.listen import free_port
from tests.jobs import write_documents
from tests.s3server.server import CREDENTIALS, start_s3_server
from tests.services import RABBITMQ, broker_queue, postgresql_schema

ALERTS = named((ROOT / "infra" / "alerts.sql").read_text("utf-8"))


def spec_of(place: Tierwise) -> str:
    source = write_documents(place.folder / "documents.parquet", ["yes", "no", "yes, no"])
    spec = {
        "name": "local",
        "task": {"kind": "classify", "labels": ["yes", "no"]},
        "input": {"path": str(source), "id": "id", "batch": {"rows": 1}},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"yes": ["yes"], "no": ["no"]}}],
        "budget": {"usd": "0"},
    }
    return write_spec(place, spec)


def alarms(url: str) -> set[str]:
    plain, _, schema = url.partition("?schema=")
    engine = create_engine(plain.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        connection.execute(text(f'SET search_path TO "{schema}"'))
        rung = {
            name for name, sql in ALERTS.items() if connection.execute(text(sql), {"now": now_ms()}).all()
        }
    engine.dispose()
    return rung


def change(url: str, *statements: Executable) -> None:
    plain, _, schema = url.partition("?schema=")
    engine = create_engine(plain.replace("postgresql://", "postgresql+psycopg://"))
    with closing_engine(engine), engine.begin() as connection:
        connection.execute(text(f'SET search_path TO "{schema}"'))
        for statement in statements:
            connection.execute(statement)


@contextmanager
def closing_engine(engine: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.dispose()


def row(table: Table, **given: object) -> Executable:
    """An insert with something in every column that must hold something."""
    empty = {int: 0, str: "", bytes: b""}
    filled = {each.name: empty[each.type.python_type] for each in table.columns if not each.nullable}
    return table.insert().values({**filled, **given})


def test_the_topology_of_compose(place: Tierwise) -> None:
    # Given the environment that compose gives its services, at the addresses of here
    compose: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text("utf-8"))
    names = set(compose["services"]["worker"]["environment"])
    with (
        postgresql_schema() as ledger,
        broker_queue("RabbitMQ", RABBITMQ) as queue,
        start_s3_server() as server,
    ):
        settings = {
            "TIERWISE_BROKER": RABBITMQ, "TIERWISE_LEDGER": ledger, "TIERWISE_LAKE": server.make_bucket("tierwise"),
            "TIERWISE_BATCH_MINUTES": "10", "TIERWISE_LOG": "json", "TIERWISE_METRICS_PORT": str(free_port()),
            "TIERWISE_METRICS_HOST": "127.0.0.1", "TIERWISE_EVENTS": "true", **CREDENTIALS,
        }  # fmt: skip
        assert names == set(settings) - {"AWS_REGION"}  # compose's lake names it
        place = Tierwise(folder=place.folder, settings={**settings, "TIERWISE_QUEUE": queue})
        # When a job goes through it, with two workers and a beat
        assert "FAILED" not in place.run("doctor")
        beat = place.start("beat")
        try:
            with workers(place, 1, "--processes", "2"):
                place.run("submit", spec_of(place), "--job", "j")
                place.wait_closed("j")
        finally:
            beat.terminate()
            beat.communicate()
        # Then every row is there, and no alarm rings
        assert place.rows("SELECT count(*) AS n FROM results WHERE status = 'answered'") == [{"n": 3}]
        assert alarms(ledger) == set()
        # But each of them rings when there is cause
        change(
            ledger,
            tables.accounts.update().values(spent=5, held=6, presumed=1, cap=10),
            tables.jobs.update().values(state="running", created_at=0),
            row(tables.jobs, job="halted", account="none", state="running", stop="over_hold"),
            tables.batches.update().where(tables.batches.c.batch == 0).values(
                committed=0, lease_until=0, published_at=0, attempts=4
            ),
            row(tables.upstreams, upstream="u", parked_at=1),
            row(tables.calls, call_id="held", query_id="held", state="held", held_at=1),
            *(row(tables.calls, call_id=f"c{number}", query_id=f"q{number}", state="presumed", settled_at=now_ms())
              for number in range(20)),
        )  # fmt: skip
        assert alarms(ledger) == set(ALERTS)


@pytest.mark.timeout(200)
def test_a_job_over_sqs(place: Tierwise, tmp_path: Path) -> None:
    pytest.importorskip("pycurl", reason="tierwise[sqs] is not installed")
    with start_s3_server() as server:
        broker = f"sqs://?region=us-east-1&endpoint_url={server.url}"
        place = Tierwise(folder=tmp_path, settings={**CREDENTIALS, "TIERWISE_BROKER": broker})
        assert "FAILED" not in place.run("doctor")
        with workers(place, 1):
            place.run("submit", spec_of(place), "--job", "j")
            place.wait_closed("j", timeout=90)
        assert place.rows("SELECT count(*) AS n FROM results WHERE status = 'answered'") == [{"n": 3}]
