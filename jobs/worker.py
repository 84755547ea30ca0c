"""`tierwise worker`: work batches from the broker, in one process or several."""

import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Annotated

import typer

from jobs.options import Lake, Ledger, LogLevel, settings_of
from pipeline.settings import Settings


def command(
    processes: Annotated[int, typer.Option(help="Worker processes on this machine.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="Batches in flight per process.", min=1)] = 8,
    lake: Lake = None,
    ledger: Ledger = None,
    log_level: LogLevel = None,
    events: Annotated[
        bool | None, typer.Option("--events", help="Tell the broker of each task, so that Flower shows it.")
    ] = None,
    metrics_port: Annotated[
        str | None, typer.Option(metavar="PORT", help="Serve Prometheus metrics here; default: nowhere.")
    ] = None,
    metrics_host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Address of the metrics; default: 127.0.0.1.")
    ] = None,
) -> None:
    """Work until stopped. Ctrl-C or SIGTERM finishes the batches in flight first; kill -9 loses nothing either."""
    from workers.app import make_app, probe_broker

    settings = settings_of(
        lake,
        ledger,
        log_level=log_level,
        events="true" if events else None,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
    probe_broker(make_app(settings), settings.broker)
    running: list[SpawnProcess] = []
    with _metrics(settings, running) as folder:
        if processes == 1:
            work(settings, threads, folder)
            return
        spawn = multiprocessing.get_context("spawn")
        running += [
            spawn.Process(target=work, args=(settings, threads, folder, number))
            for number in range(processes)
        ]
        for process in running:
            process.start()

        def stop(*_: object) -> None:
            for process in running:
                process.terminate()

        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, stop)
        for process in running:
            process.join()


@contextmanager
def _metrics(settings: Settings, running: Sequence[SpawnProcess]) -> Iterator[Path | None]:
    """Serves what the processes write to a folder, where that was asked for; none of them: this very process."""
    if settings.metrics_port is None:
        yield None
        return
    from workers.exporter import serve

    folder = Path(tempfile.mkdtemp(prefix="tierwise-metrics-"))
    try:
        serve(settings, folder, lambda: [each.is_alive() for each in running] or [True])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def work(settings: Settings, threads: int, metrics: Path | None = None, number: int = 0) -> None:
    """One worker process: a Celery thread pool whose tasks hand their batch to one loop thread."""
    from pipeline.monitoring.logs import set_up
    from workers.app import hush, make_app
    from workers.gauge import Gauge
    from workers.process import Process
    from workers.tasks import register

    set_up(settings.log, settings.log_level)
    app = make_app(settings)
    register(app, Process(settings, Gauge(number, metrics) if metrics else None))
    arguments = ["worker", "--pool=threads", f"--concurrency={threads}", f"--loglevel={settings.log_level}"]
    arguments += ["--without-gossip", "--without-mingle", "-n", _name()]
    arguments.append("--task-events" if settings.events else "--without-heartbeat")
    if settings.log == "json":
        hush()
        arguments.insert(0, "--quiet")
    app.worker_main(arguments)


def _name() -> str:
    import os
    import socket

    return f"tierwise-{os.getpid()}@{socket.gethostname()}"
