"""The kinds of fault, and who tends the workers while they happen."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from schemas.ids import JobId
from tests.end_to_end.command import Tierwise
from tests.faults.disk import fill, free
from tests.faults.herd import Herd, Watch, publish, signal_to, stopped
from tests.faults.private import Service, restart
from tests.faults.worker import CLOCK, Point, Strike, clock_file
from tests.s3server.server import S3Server
from tests.upstream.client import Upstream

WORKERS = 3  # beside those that are doomed
DOOMED_AT_ONCE = 2
DOOM_S = 60.0  # a worker that did not come to its point by then is killed where it stands
TROUBLE_S = 4.0
REQUESTS_EACH = 2.4  # of a query, without faults
FULL_S = (5.0, 20.0)  # within the patience of the ledger, and beyond it
LATENCY_MS, PACED_MS = 150.0, 3000.0  # of the upstream, and while the job is ahead of its faults


@dataclass(frozen=True)
class Doomed:
    """A worker that is to be struck."""

    process: ForkServerProcess
    strike: Strike
    until: float  # on the monotonic clock


@dataclass(kw_only=True)
class Trouble:
    """One job with its workers and services, and what is done to them."""

    place: Tierwise
    upstream: Upstream
    herd: Herd
    watching: Watch
    broker: Service
    job: JobId
    queries: int
    batches: int
    lease_s: float
    random: random.Random
    postgres: Service | None = None
    s3: S3Server | None = None
    lake_disk: Path | None = None
    ledger_disk: Path | None = None
    counted: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    paced: bool = False
    doomed: dict[int, Doomed] = field(default_factory=dict)
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    # the kinds of fault

    def kill_somewhere(self) -> None:
        self.herd.kill(self._anyone())
        self._killed("kill -9 at random")

    def kill_at(self, point: Point, stop: bool = False) -> None:
        """A further worker, which strikes itself there."""
        nth = 1 if "commit" in point else self.random.randint(1, 20)
        self._doom(Strike(point=point, nth=nth, stop=stop))

    def pause_somewhere(self) -> None:
        self._pause(self._anyone(), "SIGSTOP at random")

    def break_broker(self) -> None:
        restart(self.broker, away_s=1.0)
        self.counted["broker killed and restarted"] += 1

    def break_postgres(self) -> None:
        assert self.postgres is not None
        restart(self.postgres, away_s=self.random.uniform(0, 2))
        self.counted["PostgreSQL stopped -m immediate"] += 1

    def s3_refuses(self) -> None:
        self._s3("S3 answers 503", share_503=self.random.choice((0.5, 1.0)))

    def s3_crawls(self) -> None:
        self._s3("S3 slow", slow_s=1.0)

    def publish_thrice(self) -> None:
        publish(self.place, sorted(3 * list(range(self.batches))), self.job)
        self.counted["messages published three times"] += 1

    def jump(self, seconds: float) -> None:
        process = self._anyone()
        self._set_clock(process, seconds)
        self.later.append((time.monotonic() + 1.5 * self.lease_s, partial(self._set_clock, process, 0.0)))
        self.counted["clock jump and back"] += 1

    def fill_lake(self) -> None:
        self._fill(self.lake_disk, "full disk under the lake")

    def fill_ledger(self) -> None:
        self._fill(self.ledger_disk, "full disk under SQLite")

    # what goes on meanwhile

    def tend(self) -> None:
        """Replace who has died, wake who was paused, undo what was for a time."""
        now = time.monotonic()
        for pid, doomed in list(self.doomed.items()):
            self._look_at(pid, doomed)
        for process in list(self.herd.running):
            if process.exitcode is not None and process.pid not in self.doomed:
                self.herd.bury(process)  # it could not start: a service was away
        while len(self.herd.running) - len(self.doomed) < WORKERS:
            self.herd.start()
        due = [each for each in self.later if each[0] <= now]
        self.later = [each for each in self.later if each[0] > now]
        for _, undo in due:
            undo()

    def pace(self, ahead: bool) -> None:
        """Let the upstream take its time while the faults that were to come first are not done."""
        if ahead != self.paced:
            self.paced = ahead
            self.upstream.control(latency_ms=PACED_MS if ahead else LATENCY_MS)

    def progress(self) -> float:
        """Share of the job that is done: of the requests it needs without faults, or of its money."""
        account = self.watching.samples[-1][1] if self.watching.samples else None
        spent = account.spent / account.cap if account else 0.0
        return max(spent, self.watching.requests / (REQUESTS_EACH * self.queries))

    def _doom(self, strike: Strike) -> None:
        process = self.herd.start(strike=strike)
        self.doomed[process.pid or 0] = Doomed(process, strike, time.monotonic() + DOOM_S)

    def _look_at(self, pid: int, doomed: Doomed) -> None:
        process, strike = doomed.process, doomed.strike
        kind = f"SIGSTOP {strike.point}" if strike.stop else f"kill -9 {strike.point}"
        if process.exitcode == -signal.SIGKILL:
            self.herd.bury(process)
            self._killed(kind)
        elif process.exitcode is not None:  # it could not start: a service was away
            self.herd.bury(process)
            self._doom(strike)
        elif stopped(process):
            self._pause(process, kind, already=True)
        elif self.watching.closed or time.monotonic() > doomed.until:
            self.herd.kill(process)
            self._killed("kill -9 at random")
        else:
            return
        del self.doomed[pid]

    def _killed(self, kind: str) -> None:
        self.kills += 1
        self.counted[kind] += 1

    def _anyone(self) -> ForkServerProcess:
        """A worker that runs, neither doomed nor paused."""
        while not (found := [each for each in self.herd.running if self._is_free(each)]):
            self.tend()
            time.sleep(0.05)
        return self.random.choice(found)

    def _is_free(self, process: ForkServerProcess) -> bool:
        begun = clock_file(self.place.folder, process.pid or 0).exists()
        return begun and process.pid not in self.doomed and process.exitcode is None and not stopped(process)

    def _pause(self, process: ForkServerProcess, kind: str, already: bool = False) -> None:
        if not already:
            signal_to(process, signal.SIGSTOP)
        self.later.append((time.monotonic() + 2.2 * self.lease_s, partial(self._wake, process)))
        self.counted[f"{kind}, past its lease"] += 1

    def _wake(self, process: ForkServerProcess) -> None:
        if process in self.herd.running:
            signal_to(process, signal.SIGCONT)

    def _s3(self, kind: str, **trouble: float) -> None:
        assert self.s3 is not None
        self.s3.trouble(**trouble)
        self.later.append((time.monotonic() + TROUBLE_S, self.s3.trouble))
        self.counted[kind] += 1

    def _fill(self, disk: Path | None, kind: str) -> None:
        assert disk is not None
        fill(disk)
        self.later.append((time.monotonic() + FULL_S[self.counted[kind] % 2], partial(free, disk)))
        self.counted[kind] += 1

    def _set_clock(self, process: ForkServerProcess, seconds: float) -> None:
        if process not in self.herd.running or process.exitcode is not None:
            return  # struck down meanwhile
        clock_file(self.place.folder, process.pid or 0).write_text(str(seconds))
        signal_to(process, CLOCK)
