"""The real services tests run on: a place of its own in each, cleaned up; absent: skipped by name, in CI failed."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from kombu import Connection
from sqlalchemy import create_engine, text

POSTGRESQL = os.environ.get("TIERWISE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")
RABBITMQ = os.environ.get("TIERWISE_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("TIERWISE_TEST_REDIS", "redis://127.0.0.1:6379/0")


def need(name: str, url: str) -> None:
    """Skip, or in CI fail, when nothing listens there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=3).close()
    except OSError as error:
        message = f"no {name} at {parts.hostname}:{parts.port}: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def postgresql_schema() -> Iterator[str]:
    """A ledger URL with a schema that is dropped afterwards."""
    need("PostgreSQL", POSTGRESQL)
    schema = f"tierwise_{uuid.uuid4().hex[:12]}"
    yield f"{POSTGRESQL}?schema={schema}"
    engine = create_engine(POSTGRESQL.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
    engine.dispose()


@contextmanager
def broker_queue(name: str, url: str) -> Iterator[str]:
    """The name of a queue that is deleted afterwards."""
    need(name, url)
    queue = f"tierwise-test-{uuid.uuid4().hex[:8]}"
    yield queue
    with Connection(url) as connection:
        channel = connection.default_channel
        if url.startswith("amqp"):
            channel.queue_delete(queue)
            channel.exchange_delete(queue)
        else:
            keys = list(channel.client.scan_iter(f"{queue}:*"))
            if keys:
                channel.client.delete(*keys)
