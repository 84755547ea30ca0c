"""A tier's door: how a request is put on the wire and what comes back is read."""

from typing import Protocol

from schemas.ids import CallId, Nano
from schemas.records import Completion, Reply, Request


class Provider(Protocol):
    """One tier. `encode`, `bound`, `read` are pure; only `send` touches the outside."""

    model: str
    local: bool  # answers in this process, bills nothing: needs neither hold nor journal

    def check(self) -> None:
        """Raise MissingCredential (or the like) if the first call is sure to fail. Sends nothing."""
        ...

    def encode(self, request: Request) -> bytes:
        """The exact bytes to send. Their hash, with the tier's endpoint, is the request's identity."""
        ...

    def bound(self, request: Request) -> Nano:
        """The most this request can cost."""
        ...

    async def send(self, body: bytes, key: CallId) -> Reply:
        """Send once. Never raises for what the wire does: a Reply says what is known."""
        ...

    def read(self, body: bytes) -> Completion:
        """Read a complete reply. Never raises: a body that cannot be read is `malformed`."""
        ...

    def cost(self, completion: Completion) -> Nano | None:
        """What the reply cost, or None when it does not say."""
        ...

    async def close(self) -> None: ...
