"""`tierwise beat`: publish what happens by the clock; workers do it."""

from typing import Annotated

import typer

from jobs.options import LogLevel, settings_of


def command(
    every: Annotated[float, typer.Option(help="Seconds between two sweeps.", min=1)] = 60,
    log_level: LogLevel = None,
) -> None:
    """Have the workers fire schedules and sweep, until stopped. It needs the broker alone; two do no harm."""
    from pipeline.monitoring.logs import set_up
    from workers.app import make_app, probe_broker
    from workers.beat import run_beat

    settings = settings_of(None, log_level=log_level)
    set_up(settings.log, settings.log_level)
    app = make_app(settings)
    probe_broker(app, settings.broker)
    run_beat(app, every)
