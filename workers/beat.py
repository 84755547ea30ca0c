"""What happens by the clock: ticks, published for the workers. What a tick does is decided in the ledger (a sweep runs
under a lease, an occurrence is entered once) and workers look by themselves too, so no beat, one or two make no
difference but in how soon."""

import signal

from celery import Celery
from celery.beat import Scheduler, Service

from workers.app import FIRE_TASK, SWEEP_TASK

FIRE_EVERY_S = 5.0  # how late a scheduled job may be


def run_beat(app: Celery, every_s: float) -> None:
    """Publish until SIGTERM or Ctrl-C. It keeps nothing: there is no state file to lose or to share."""
    fire_s = min(every_s, FIRE_EVERY_S)
    app.conf.beat_schedule = {
        "sweep": {"task": SWEEP_TASK, "schedule": every_s, "options": {"expires": every_s}},
        "fire": {"task": FIRE_TASK, "schedule": fire_s, "options": {"expires": fire_s}},
    }
    service = Service(app, max_interval=fire_s, scheduler_cls=Scheduler)

    def stop(*_: object) -> None:
        service.stop()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    service.start()
