"""What has passed through the server."""

import time
from collections import Counter

import msgspec

from tests.upstream.meter import Meter


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """GET /control/stats."""

    served: int  # requests to the paid endpoints that were read
    answered: int  # of these, the ones that got a whole reply, whatever its status
    by_status: dict[str, int]  # replies by HTTP status
    by_kind: dict[str, int]  # requests by what became of them; 4xx are not among them
    in_flight: int  # read, and neither answered nor cut nor given up by the client
    max_in_flight: int
    metered: int  # durable meter lines, also of earlier runs on the same file
    metered_nano: int  # their sum, nano-dollars
    cpu_s: float  # processor seconds of this process since its start


class Traffic:
    """Counters."""

    def __init__(self) -> None:
        self.served = 0
        self.answered = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.by_status: Counter[int] = Counter()
        self.by_kind: Counter[str] = Counter()

    def begin(self) -> int:
        """A request was read; its number."""
        self.served += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return self.served

    def end(self) -> None:
        """A request is over."""
        self.in_flight -= 1

    def answer(self, status: int) -> None:
        """A whole reply was sent."""
        self.answered += 1
        self.by_status[status] += 1

    def stats(self, meter: Meter) -> Stats:
        """The counters as they stand."""
        return Stats(
            served=self.served,
            answered=self.answered,
            by_status={str(status): count for status, count in sorted(self.by_status.items())},
            by_kind=dict(self.by_kind),
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
            metered=meter.lines,
            metered_nano=meter.total_nano,
            cpu_s=time.process_time(),
        )
