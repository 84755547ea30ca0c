"""The Prometheus endpoint of a worker command: /metrics of all its processes and of the ledger, /healthz for probes.

The ledger is the same whichever worker is asked: in PromQL take `max by (...)` of what begins with
tierwise_{account,job,jobs,upstream,queue,ledger}. https://prometheus.io/docs/instrumenting/writing_exporters/
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from pipeline.ledger import open_ledger
from pipeline.monitoring.meters import METRICS, Histogram, Readings
from pipeline.ports.ledger import Ledger
from pipeline.settings import Settings
from pipeline.wiring.services import now_ms
from schemas.errors import TierwiseError
from workers.app import make_app
from workers.gauge import read_folder
from workers.vitals import families_of

STALE_S = 30.0  # after which a process that wrote nothing is not well
WAIT_S = 3.0  # of a scrape for the ledger, and for the broker; Prometheus waits ten in all
Alive = Callable[[], Sequence[bool]]  # of each process, in the order of their numbers


class PortTaken(TierwiseError):
    """The metrics cannot be served on {host}:{port}: {why}. Nothing was spent."""

    exit_code = 2
    fix = "Give another --metrics-port, or stop what listens there."


class Exporter(Collector):
    """One for all processes of a command; `alive` says which of them live."""

    def __init__(self, settings: Settings, folder: Path, alive: Alive) -> None:
        self._settings, self._folder, self._alive = settings, folder, alive
        self._app = make_app(settings)
        self._ledger: Ledger | None = None
        self._scraping = threading.Lock()  # one look at the ledger at a time

    def up(self) -> dict[int, bool]:
        found, oldest = read_folder(self._folder), time.time() - STALE_S
        return {
            number: lives and number in found and found[number].at > oldest
            for number, lives in enumerate(self._alive())
        }

    def collect(self) -> Iterator[Family]:
        yield from _processes(read_folder(self._folder), self.up())
        with self._scraping:
            yield from self._ledgers()
        yield self._queue()

    def _ledgers(self) -> Iterable[Family]:
        if self._ledger is None:
            self._ledger = open_ledger(self._settings.ledger_url(), clock=now_ms)
        try:
            before = now_ms()
            seen = asyncio.run(asyncio.wait_for(self._ledger.overview(before), WAIT_S))
        except (TierwiseError, TimeoutError):
            return families_of(None, 0)
        return families_of(seen, (before + now_ms()) // 2)

    def _queue(self) -> Family:
        family = GaugeMetricFamily(
            "tierwise_queue_messages", "Messages that wait in the broker; none: it is out of reach."
        )
        try:
            with self._app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=WAIT_S)
                queue = connection.default_channel.queue_declare(self._settings.queue, passive=True)
                family.add_metric([], queue.message_count)
        except Exception:  # the worker says why; an endpoint that fails would hide everything else too
            return family
        return family


def _processes(found: dict[int, Readings], up: dict[int, bool]) -> Iterator[Family]:
    """What has been counted is kept when a process dies; what it was doing is not."""
    for name, metric in METRICS.items():
        if metric.kind == "counter":
            counters = CounterMetricFamily(name, metric.help, labels=metric.labels)
            for labels in _keys(name, (each.counters for each in found.values())):
                key = (name, *labels)
                counters.add_metric(labels, sum(each.counters.get(key, 0) for each in found.values()))
            yield counters
        elif metric.kind == "histogram":
            yield _histograms(name, found)
        else:
            gauges = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            now = [each.gauges for number, each in found.items() if up.get(number)]
            if name == "tierwise_process_up":
                now = [{(name, str(number)): float(well) for number, well in up.items()}]
            for each in now:
                for key in sorted(key for key in each if key[0] == name):
                    gauges.add_metric(key[1:], each[key])
            yield gauges


def _histograms(name: str, found: dict[int, Readings]) -> Family:
    metric = METRICS[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels in _keys(name, (each.histograms for each in found.values())):
        parts = [
            each.histograms[name, *labels] for each in found.values() if (name, *labels) in each.histograms
        ]
        family.add_metric(labels, _buckets(parts), sum(part.total for part in parts))
    return family


def _buckets(parts: Sequence[Histogram]) -> list[tuple[str, float]]:
    """Cumulative, as the format wants them."""
    bounds, so_far = (*map(str, parts[0].bounds), "+Inf"), 0
    buckets = []
    for bound, *counts in zip(bounds, *(part.counts for part in parts), strict=True):
        so_far += sum(counts)
        buckets.append((bound, float(so_far)))
    return buckets


def _keys(name: str, tables: Iterable[dict[tuple[str, ...], Any]]) -> list[tuple[str, ...]]:
    return sorted({key[1:] for table in tables for key in table if key[0] == name})


def serve(settings: Settings, folder: Path, alive: Alive) -> None:
    """In a thread of its own until the process ends. Raises PortTaken."""
    exporter = Exporter(settings, folder, alive)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    metrics = make_wsgi_app(registry)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        if environ["PATH_INFO"] != "/healthz":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics or /healthz\n"]
        up = exporter.up()
        status = "200 OK" if all(up.values()) else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps({"processes": up}).encode() + b"\n"]

    port, host = settings.metrics_port or 0, settings.metrics_host
    try:
        server = make_server(host, port, app, ThreadingWSGIServer, handler_class=_Silent)
    except OSError as error:
        raise PortTaken(host=host, port=port, why=error.strerror) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A line every fifteen seconds tells nothing."""
