"""What a key may look like: relative, "/"-separated, unable to climb out of its root."""

_FORBIDDEN = frozenset(("", ".", ".."))


def check_key(key: str) -> str:
    """Job ids are checked where they enter; a key that fails here is a mistake in the code: ValueError."""
    if any(piece in _FORBIDDEN for piece in key.split("/")) or "\\" in key or "\0" in key:
        raise ValueError(f"no key of a lake: {key!r}")
    return key


def check_prefix(prefix: str) -> str:
    """The empty prefix is the whole lake; any other names a folder and ends in "/"."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"a prefix ends in '/': {prefix!r}")
        check_key(prefix[:-1])
    return prefix


def check_path(path: str) -> str:
    """A path as DuckDB hands it to a file system: it compares it as written with the folders it may read, so
    none may climb. Raises PermissionError."""
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise PermissionError(f"no path of a lake: {path!r}")
    return path
