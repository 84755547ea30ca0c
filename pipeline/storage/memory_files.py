"""The in-memory lake as a file system that DuckDB can read."""

import io
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem

from pipeline.storage.keys import check_path


class MemoryFiles(AbstractFileSystem):  # type: ignore[misc]
    """Read-only; sees later writes, as a real store would."""

    cachable = False

    def __init__(self, objects: dict[str, bytes], root: str = "memory://lake") -> None:
        super().__init__()
        self.protocol, _, self._root = root.partition("://")
        self._objects = objects

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return check_path(path).rpartition("://")[2].strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Entries of a folder, or the file itself."""
        found = [self._entry(key) for key in sorted(self._below(self._key(path)))]
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [entry["name"] for entry in found]

    def _key(self, path: str) -> str:
        return self._strip_protocol(path).removeprefix(self._root).strip("/")

    def _below(self, key: str) -> set[str]:
        if key in self._objects:
            return {key}
        start = f"{key}/" if key else ""
        below = (other for other in list(self._objects) if other.startswith(start))
        return {start + other[len(start) :].partition("/")[0] for other in below}

    def _entry(self, key: str) -> dict[str, Any]:
        data = self._objects.get(key)
        kind = "directory" if data is None else "file"
        return {"name": f"{self._root}/{key}", "type": kind, "size": 0 if data is None else len(data)}

    def modified(self, path: str) -> datetime:
        """Always now: nothing read before is trusted again."""
        return datetime.now(UTC)

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> io.BytesIO:
        try:
            return io.BytesIO(self._objects[self._key(path)])
        except KeyError:
            raise FileNotFoundError(path) from None
