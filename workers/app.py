"""The Celery app: JSON claim checks, acknowledged late, one at a time per slot."""

from celery import Celery
from kombu.entity import Exchange, Queue

from pipeline.settings import Settings
from schemas.errors import BrokerUnreachable

BATCH_TASK = "tierwise.batch"
CLOSE_TASK = "tierwise.close"


def make_app(settings: Settings) -> Celery:
    """No result backend: the ledger and the lake hold all results, the broker only hints."""
    if not settings.broker:
        raise BrokerUnreachable(
            url="(none)", why="no broker is configured", fix="Set TIERWISE_BROKER, or use `tierwise run`."
        )
    app = Celery("tierwise", broker=settings.broker, set_as_current=False)
    rabbit = settings.broker.startswith(("amqp", "pyamqp"))
    arguments = {"x-queue-type": "quorum"} if rabbit else None
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
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={} if rabbit else _redis_options(settings),
        task_publish_retry_policy={"max_retries": 5, "interval_start": 0.1, "interval_step": 0.5},
    )
    return app


def _redis_options(settings: Settings) -> dict[str, object]:
    """Redis renews no lease: the timeout must exceed a batch, and the restore must look often (celery#5935)."""
    return {
        "visibility_timeout": settings.visibility_seconds,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "global_keyprefix": f"{settings.queue}:",
    }


def probe_broker(app: Celery, url: str) -> None:
    """Raise BrokerUnreachable unless a connection opens."""
    from kombu.utils.url import maybe_sanitize_url

    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise BrokerUnreachable(url=maybe_sanitize_url(url), why=why) from None
