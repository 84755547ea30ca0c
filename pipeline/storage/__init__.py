"""The lake: where its bytes lie, and how its tables are read, merged and swept."""

from urllib.parse import unquote, urlsplit

from pipeline.ports.storage import Storage
from schemas.errors import UnknownScheme

KNOWN = "a folder, file:///folder, s3://bucket/prefix, memory://"


def open_storage(uri: str) -> Storage:
    """The storage a URI names; nothing is read or written yet. Raises UnknownScheme."""
    scheme, mark, _ = uri.partition("://")
    match scheme if mark else "file":
        case "file":
            from pipeline.storage.local import LocalStorage

            return LocalStorage(_path(uri) if mark else uri)
        case "s3":
            from pipeline.storage.s3 import S3Storage

            return S3Storage(uri)
        case "memory":
            from pipeline.storage.memory import MemoryStorage

            return MemoryStorage()
    raise UnknownScheme(port="storage", url=f"{scheme}://…", known=KNOWN)


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise UnknownScheme(port="storage", url="file://…", known="file:///folder, with three slashes")
    return unquote(parts.path)
