"""The in-memory lake as a file system that DuckDB can read."""

import io
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem


class MemoryFiles(AbstractFileSystem):  # type: ignore[misc]
    """Read-only; sees later writes, as a real store would."""

    protocol = "memory"
    cachable = False

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self._objects = objects

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("memory://").removeprefix("lake").strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Entries of a folder, or the file itself."""
        path = self._strip_protocol(path)
        found = {name: self._entry(name) for name in self._below(path)}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else sorted(found)

    def _below(self, path: str) -> set[str]:
        if path in self._objects:
            return {path}
        start = f"{path}/" if path else ""
        below = (key for key in list(self._objects) if key.startswith(start))
        return {start + key[len(start) :].partition("/")[0] for key in below}

    def _entry(self, name: str) -> dict[str, Any]:
        data = self._objects.get(name)
        kind = "directory" if data is None else "file"
        return {"name": name, "type": kind, "size": 0 if data is None else len(data)}

    def modified(self, path: str) -> datetime:
        """Always now: nothing read before is trusted again."""
        return datetime.now(UTC)

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> io.BytesIO:
        try:
            return io.BytesIO(self._objects[self._strip_protocol(path)])
        except KeyError:
            raise FileNotFoundError(path) from None
