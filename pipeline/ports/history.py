"""What earlier jobs were answered."""

from typing import Protocol

from pipeline.ports.ledger import Kept


class History(Protocol):
    async def find(self, request_hash: bytes) -> Kept | None:
        """What another job was answered to an equal request, if that may be used again. Takes no money."""
        ...
