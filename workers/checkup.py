"""The broker, looked at for real: a message there and back, its version, its queue, its clock."""

import time
import uuid
from typing import Any

import msgspec
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer

from pipeline.settings import Settings
from schemas.finding import Finding, graded
from schemas.secrets import hide
from workers.app import make_app, probe_broker
from workers.broker import read_broker

PATIENCE_S = 5.0
OLDEST_RABBITMQ = (3, 10)  # of quorum queues that behave like today's


class BrokerHealth(msgspec.Struct, frozen=True, kw_only=True):
    findings: list[Finding]
    consumers: int = 0  # workers that listen; 0 too where the broker does not say
    ahead_ms: float | None = None


def check_broker(settings: Settings) -> BrokerHealth:
    """Blocking. Raises BrokerUnreachable."""
    if not settings.broker:
        said = "none configured; `tierwise run` needs none"
        return BrokerHealth(findings=[Finding(name="broker", state="ok", said=said)])
    app, broker = make_app(settings), read_broker(settings)
    probe_broker(app, settings.broker)
    with app.connection_for_write() as connection:
        if broker.transport == "sqs":
            said = f"{hide(broker.url)}: reached"
            return BrokerHealth(
                findings=[Finding(name="broker", state="ok", said=said), *_visibility(settings)]
            )
        took = _round_trip(connection)
        said = f"{hide(settings.broker)}: a message there and back took {took:.0f} ms"
        found = [Finding(name="broker", state="ok", said=said)]
        if broker.transport == "redis":
            client = connection.default_channel.client
            before = time.time()
            seconds, micros = client.time()
            here = (before + time.time()) / 2
            return BrokerHealth(
                findings=[*found, *_visibility(settings)], ahead_ms=(seconds + micros / 1e6 - here) * 1000
            )
        found.append(_version(connection))
        return BrokerHealth(findings=found, consumers=_consumers(connection, settings.queue))


def _round_trip(connection: Connection) -> float:
    """Milliseconds, over a queue of this check alone that goes with it."""
    name = f"tierwise-doctor-{uuid.uuid4().hex}"
    came: list[Any] = []
    began = time.perf_counter()
    with connection.channel() as channel:
        exchange = Exchange(name, type="direct", durable=False, auto_delete=True)
        queue = Queue(name, exchange, routing_key=name, durable=False, auto_delete=True, exclusive=True)
        bound = queue(channel)
        bound.declare()
        try:
            with Consumer(channel, [bound], callbacks=[lambda body, message: came.append(body)], no_ack=True):
                Producer(channel).publish(
                    {"probe": name}, exchange=exchange, routing_key=name, serializer="json"
                )
                end = time.monotonic() + PATIENCE_S
                while not came and time.monotonic() < end:
                    connection.drain_events(timeout=PATIENCE_S)
        finally:
            bound.delete()
    return (time.perf_counter() - began) * 1000


def _version(connection: Connection) -> Finding:
    said = str(connection.connection.server_properties.get("version", "?"))
    numbers = tuple(int(each) for each in said.split(".")[:2] if each.isdigit())
    return graded(
        "broker's version", f"RabbitMQ {said}, quorum queues", numbers < OLDEST_RABBITMQ,
        "Use RabbitMQ 3.10 or later: earlier quorum queues are slow with many messages.",
    )  # fmt: skip


def _consumers(connection: Connection, queue: str) -> int:
    """0 while the queue is not there."""
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).consumer_count)
    except Exception:  # a channel error of the transport: NOT_FOUND
        return 0


def _visibility(settings: Settings) -> list[Finding]:
    """Where the broker renews no lease of a message, it must outlast a batch."""
    batch_s = settings.batch_minutes * 60
    said = f"a message is delivered again after {settings.visibility_seconds} s, a batch takes at most {batch_s:.0f} s"
    fix = f"TIERWISE_VISIBILITY_SECONDS={round(batch_s * 1.5)}, here and for every worker"
    return [graded("broker's visibility timeout", said, settings.visibility_seconds <= batch_s, fix)]
