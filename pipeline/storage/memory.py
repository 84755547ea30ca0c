"""The lake in this process, for tests and dry runs; gone with the process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from pipeline.storage.keys import check_key, check_prefix
from pipeline.storage.probe import probe_creates
from schemas.errors import NoSuchObject


class MemoryStorage:
    """Behaves as the other stores do, also between threads."""

    uri = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = Lock()

    async def read(self, key: str) -> bytes:
        try:
            return self.objects[check_key(key)]
        except KeyError:
            raise NoSuchObject(key=key) from None

    async def fetch(self, key: str, target: Path) -> None:
        data = await self.read(key)
        await asyncio.to_thread(target.write_bytes, data)

    async def write(self, key: str, data: bytes) -> None:
        with self._lock:
            self.objects[check_key(key)] = bytes(data)

    async def create(self, key: str, data: bytes) -> bool:
        with self._lock:
            if check_key(key) in self.objects:
                return False
            self.objects[key] = bytes(data)
            return True

    async def publish(self, key: str, source: Path) -> None:
        await self.write(key, await asyncio.to_thread(source.read_bytes))
        await asyncio.to_thread(source.unlink)

    async def list(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        with self._lock:
            return sorted(key for key in self.objects if key.startswith(prefix))

    async def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self.objects.pop(check_key(key), None)

    async def probe(self) -> None:
        await probe_creates(self)

    async def close(self) -> None:
        """Nothing is held."""
