"""What happens by the clock. Only the sweep for now; workers sweep by themselves too, so no beat, one or two make no
difference to the results: a sweep runs under a ledger lease."""

import signal

from celery import Celery
from celery.beat import Scheduler, Service

from workers.app import SWEEP_TASK


def run_beat(app: Celery, every_s: float) -> None:
    """Publish until SIGTERM or Ctrl-C. The schedule is kept in memory: there is no state file to lose or to share."""
    sweep = {"task": SWEEP_TASK, "schedule": every_s, "options": {"expires": every_s}}
    app.conf.beat_schedule = {"sweep": sweep}
    service = Service(app, max_interval=min(every_s, 5.0), scheduler_cls=Scheduler)

    def stop(*_: object) -> None:
        service.stop()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    service.start()
