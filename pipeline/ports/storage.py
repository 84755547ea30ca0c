"""The lake's bytes: a local folder or a bucket."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Keys are relative, "/"-separated, without "..". Every write is atomic and durable on return."""

    uri: str

    async def read(self, key: str) -> bytes:
        """Raises NoSuchObject."""
        ...

    async def fetch(self, key: str, target: Path) -> None:
        """Copy an object into a local file. Raises NoSuchObject."""
        ...

    async def write(self, key: str, data: bytes) -> None:
        """Create or replace as one step."""
        ...

    async def create(self, key: str, data: bytes) -> bool:
        """Create; False (and nothing changed) when the key exists. One winner among any number."""
        ...

    async def publish(self, key: str, source: Path) -> None:
        """Create or replace from a finished local file, in one step at any size. The file is consumed."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Keys below a folder prefix ending in "/", sorted."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Missing keys are no error."""
        ...

    async def probe(self) -> None:
        """Raise LakeUnreachable or UnconditionalStore unless writes and conditional creates work."""
        ...

    async def close(self) -> None: ...
