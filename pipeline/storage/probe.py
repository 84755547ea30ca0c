"""Whether a store keeps the promise that commits rest on."""

from uuid import uuid4

from pipeline.ports.storage import Storage
from schemas.errors import LakeUnreachable, UnconditionalStore


async def probe_creates(storage: Storage) -> None:
    """Create one small object twice; the second must lose. Raises LakeUnreachable or UnconditionalStore."""
    key = f"_probe/{uuid4().hex}"
    first = await storage.create(key, b"first")
    try:
        second = await storage.create(key, b"second")
        kept = await storage.read(key)
    finally:
        await storage.delete([key])
    if second or kept != b"first":
        raise UnconditionalStore(url=storage.uri)
    if not first:
        raise LakeUnreachable(url=storage.uri, why="a new object was refused as existing")
