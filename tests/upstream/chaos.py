"""What goes wrong, and how often: decided per request by a keyed hash of its number."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from tests.upstream.keyed import unit

Kind = Literal[
    "ok",
    "rate_limited",  # 429 with Retry-After, at once; not metered
    "server_error",  # 500 after the latency; metered only with bill_500
    "hang",  # metered, then never a byte
    "cut_before",  # connection reset, the request counts as unread; not metered
    "cut_after",  # metered, then reset after the latency without a byte
    "cut_body",  # metered; full Content-Length, half the body, closed
    "malformed_json",  # metered; 200 whose body is half a JSON document
    "malformed_content",  # metered; a well-formed chat body whose content is garbage
    "truncated",  # metered; half the content, finish_reason "length"
    "content_filter",  # metered; empty content, finish_reason "content_filter"
    "refusal",  # metered; null content and the `refusal` field
    "overbill",  # metered and reported with more output tokens than the request allowed
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ChaosError(ValueError):
    """Shares that cannot be drawn; the message says which and the fix."""


class Chaos:
    """Draws each request's kind: first from the script, then by the shares."""

    def __init__(self, *, seed: int, shares: Mapping[Kind, float]) -> None:
        self._seed = seed
        self._script: deque[Kind] = deque()
        self._bounds: list[tuple[float, Kind]] = []
        self.share(shares)

    def share(self, shares: Mapping[Kind, float]) -> None:
        """Replace all shares (fractions of the requests; what is left over is ok)."""
        check_shares(shares)
        bounds: list[tuple[float, Kind]] = []
        reached = 0.0
        for kind, share in shares.items():
            reached += share
            bounds.append((reached, kind))
        self._bounds = bounds

    def script(self, kinds: Sequence[Kind]) -> None:
        """The kinds of the next requests, in order, before the shares rule again."""
        self._script = deque(kinds)

    def draw(self, number: int) -> Kind:
        """The kind of the request with this number."""
        if self._script:
            return self._script.popleft()
        if not self._bounds:
            return "ok"
        drawn = unit(self._seed, "kind", number)
        return next((kind for bound, kind in self._bounds if drawn < bound), "ok")


def check_shares(shares: Mapping[Kind, float]) -> None:
    """ChaosError unless every share is of a known kind, none negative, and all sum to 1 at most."""
    for kind, share in shares.items():
        if kind not in KINDS or kind == "ok":
            raise ChaosError(f"share of {kind!r}: unknown kind; known: {', '.join(KINDS[1:])}")
        if not 0 <= share <= 1:
            raise ChaosError(f"share of {kind!r} is {share}; give a fraction from 0 to 1")
    if sum(shares.values()) > 1 + 1e-9:
        raise ChaosError(f"shares sum to {sum(shares.values())}; at most 1")
