"""What the spec allows of a tier, and what a process has seen of it since it last told the ledger."""

import msgspec

from pipeline.cascade.retry import LONGEST_ASKED_S


class Parked(Exception):
    """The tier is down, and it is not to be waited for any longer."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """What the spec says of asking a tier."""

    upstream: str  # what jobs share: provider, endpoint, model, name of the key
    most: int  # calls at once
    requests: int | None = None  # a minute
    tokens: int | None = None  # a minute
    skips: bool = False  # queries go on to the next tier while this one is down
    patience_ms: int = 0  # or wait for so long from the moment it went down

    def cost(self, tokens: int) -> int:
        """µs that the stated limits give a call; 0 where none is stated."""
        by_requests = 60_000_000 // self.requests if self.requests else 0
        return max(by_requests, tokens * 60_000_000 // self.tokens if self.tokens else 0)


class Report(msgspec.Struct):
    """Since the last report; the fields of `Draw`."""

    answered: int = 0
    answered_at: int = 0
    failed: int = 0
    limited: int = 0
    limited_at: int = 0
    pause: int = 0
    away: int = 0
    back: int = 0
    problem: str = ""

    def alive(self, sent_at: int) -> None:
        self.failed = 0
        if sent_at > self.answered_at:
            self.answered_at = sent_at

    def wait(self, wait_s: float) -> None:
        if wait_s > LONGEST_ASKED_S:
            self.away = max(self.away, int(wait_s * 1000))
        else:
            self.pause = max(self.pause, int(wait_s * 1000))
