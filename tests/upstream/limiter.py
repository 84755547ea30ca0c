"""The rate limit: a token bucket."""


class TokenBucket:
    """Refills at `rate` requests per second up to `burst`; the caller passes the clock."""

    def __init__(self, *, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._level = float(burst)
        self._at = now

    def wait_s(self, now: float) -> float:
        """0 if a request may pass now (and takes its token), else the seconds until one could."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._rate
