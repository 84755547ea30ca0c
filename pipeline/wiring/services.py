"""The outside of a process, by URL scheme: ledger, lake, HTTP, clock."""

import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack

from pipeline.ledger import open_ledger
from pipeline.monitoring.trace import UNTRACED, Tracer
from pipeline.providers.http import HttpClient
from pipeline.settings import Settings
from pipeline.storage import open_storage
from pipeline.storage.views import prepare_lake
from pipeline.work import Services, Timing
from schemas.errors import MissingExtra
from schemas.ids import CallId


async def open_services(settings: Settings) -> Services:
    """The ledger and the lake, probed: raises LedgerUnreachable, LakeUnreachable or UnconditionalStore."""
    async with AsyncExitStack() as opened:
        storage = open_storage(settings.lake_uri())
        opened.push_async_callback(storage.close)
        await storage.probe()
        await prepare_lake(storage)
        # a third of a lease, as everything that looks for dead holders
        orphan_after_s = settings.lease_seconds / 3
        ledger = open_ledger(settings.ledger_url(), clock=now_ms, orphan_after_s=orphan_after_s)
        opened.push_async_callback(ledger.close)
        await ledger.probe()
        opened.pop_all()
    return Services(
        ledger=ledger,
        storage=storage,
        http=HttpClient(),
        clock=now_ms,
        new_id=_call_ids(),
        random=random.random,
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}",
        tracer=open_tracer(settings.trace_calls),
        timing=Timing(lease=int(settings.lease_seconds * 1000), batch=int(settings.batch_minutes * 60_000)),
    )


def open_tracer(share: float) -> Tracer:
    """Traces go where OpenTelemetry's environment says, if it does. Raises MissingExtra."""
    if not {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} & os.environ.keys():
        return UNTRACED
    try:
        from pipeline.monitoring.otel import OtelTracer
    except ImportError:
        raise MissingExtra(feature="OTEL_EXPORTER_OTLP_ENDPOINT", package="'tierwise[otel]'") from None
    return OtelTracer(share)


async def close_services(services: Services) -> None:
    services.tracer.close()
    await services.http.close()
    await services.ledger.close()
    await services.storage.close()


def _call_ids() -> Callable[[], CallId]:
    """Milliseconds, then 80 random bits, as UUIDv7: new ids lie side by side in the ledger's index. Drawn from a
    generator seeded by the system, so that no id costs a system call."""
    bits = random.Random(int.from_bytes(os.urandom(32))).getrandbits
    return lambda: CallId(f"{now_ms():012x}{bits(80):020x}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000
