"""`tierwise beat`: publish what happens by the clock; workers do it."""

import logging
from typing import Annotated

import typer

from jobs.options import settings_of


def command(
    every: Annotated[float, typer.Option(help="Seconds between two sweeps.", min=1)] = 60,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Have the workers fire schedules and sweep, until stopped. It needs the broker alone; two do no harm."""
    from workers.app import make_app, probe_broker
    from workers.beat import run_beat

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(name)s %(message)s")
    settings = settings_of(None)
    app = make_app(settings)
    probe_broker(app, settings.broker)
    run_beat(app, every)
