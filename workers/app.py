"""The Celery app: JSON claim checks, acknowledged late, one at a time per slot."""

import logging

from celery import Celery
from celery.signals import setup_logging
from kombu.entity import Exchange, Queue

from pipeline.settings import Settings
from schemas.errors import BrokerUnreachable
from schemas.secrets import hide
from workers.broker import read_broker

BATCH_TASK = "tierwise.batch"
CLOSE_TASK = "tierwise.close"
SWEEP_TASK = "tierwise.sweep"
FIRE_TASK = "tierwise.fire"


def make_app(settings: Settings) -> Celery:
    """No result backend: the ledger and the lake hold all results, the broker only hints."""
    if not settings.broker:
        raise BrokerUnreachable(
            url="(none)", why="no broker is configured", fix="Set TIERWISE_BROKER, or use `tierwise run`."
        )
    broker = read_broker(settings)
    app = Celery("tierwise", broker=broker.url, set_as_current=False)
    arguments = {"x-queue-type": "quorum"} if broker.transport == "amqp" else None
    app.conf.update(
        task_queues=[
            Queue(
                settings.queue,
                Exchange(settings.queue),
                routing_key=settings.queue,
                queue_arguments=arguments,
            )
        ],
        task_default_queue=settings.queue,
        task_default_exchange=settings.queue,
        task_default_routing_key=settings.queue,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_detect_quorum_queues=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=settings.events,
        task_send_sent_event=settings.events,
        broker_connection_retry_on_startup=True,
        broker_use_ssl=broker.tls,
        broker_transport_options=broker.options,
        worker_enable_remote_control=False,  # whoever can publish could else command the workers
        task_publish_retry_policy={"max_retries": 5, "interval_start": 0.1, "interval_step": 0.5},
    )
    return app


@setup_logging.connect
def _leave_logging(**_: object) -> None:
    """Celery then sets up none: all lines have one form, by pipeline.monitoring.logs."""


def hush() -> None:
    """What Celery says past its loggers as a process ends becomes a line of the log too."""
    from celery.apps import worker

    worker.safe_say = lambda message, *_: logging.getLogger("celery.worker").info(message)


def probe_broker(app: Celery, url: str) -> None:
    """Raise BrokerUnreachable unless a connection opens."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
    except Exception as error:
        why = hide(f"{type(error).__name__}: {error}")
        raise BrokerUnreachable(url=hide(url), why=why) from None
