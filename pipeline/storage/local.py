"""The lake in a local folder. Every write is a finished, synced file put in place by one rename or link."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import ParamSpec, TypeVar
from uuid import uuid4

from pipeline.storage.keys import check_key, check_prefix
from pipeline.storage.probe import probe_creates
from schemas.errors import LakeUnreachable, NoSuchObject

P = ParamSpec("P")
T = TypeVar("T")
Keys = list[str]  # inside the class, `list` is the verb

SCRATCH = "_tmp"  # unfinished files, on the lake's own filesystem so that a rename puts them in place
STALE_S = 86_400.0  # an unfinished file of that age belongs to a process that died
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalStorage:
    """Blocking work runs in threads; a key cannot leave the root, not even through a symbolic link."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.uri = str(self.root)

    def path(self, key: str) -> Path:
        """Where an object lies. Raises LakeUnreachable when a link leads out of the lake."""
        path = self.root / check_key(key)
        real, root = os.path.realpath(path), os.path.realpath(self.root)
        if os.path.commonpath((real, root)) != root:
            raise LakeUnreachable(
                url=self.uri, why=f"{key!r} is a link that leads out of it", fix="Remove the symbolic link."
            )
        return path

    async def read(self, key: str) -> bytes:
        return await self._run(self._read, key)

    async def fetch(self, key: str, target: Path) -> None:
        await self._run(self._fetch, key, target)

    async def write(self, key: str, data: bytes) -> None:
        await self._run(self._write, key, data)

    async def create(self, key: str, data: bytes) -> bool:
        return await self._run(self._create, key, data)

    async def publish(self, key: str, source: Path) -> None:
        await self._run(self._publish, key, source)

    async def list(self, prefix: str) -> list[str]:
        return await self._run(self._keys, prefix)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._run(self._delete, keys)

    async def probe(self) -> None:
        """Also clears what dead processes left unfinished."""
        await probe_creates(self)
        await self._run(self._clear_scratch)

    async def close(self) -> None:
        """Nothing is held."""

    def scratch(self) -> Path:
        """A folder on the lake's filesystem, unseen by readers."""
        folder = self.root / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            raise LakeUnreachable(url=self.uri, why=error.strerror or str(error)) from error

    def _read(self, key: str) -> bytes:
        with _missing(key):
            return self.path(key).read_bytes()

    def _fetch(self, key: str, target: Path) -> None:
        with _missing(key), self.path(key).open("rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 2**20)

    def _write(self, key: str, data: bytes) -> None:
        target = self.path(key)
        with self._finished(data) as temporary:
            _make_folder(target.parent)
            os.replace(temporary, target)
        _sync(target.parent)

    def _create(self, key: str, data: bytes) -> bool:
        target = self.path(key)
        if target.exists():
            return False
        with self._finished(data) as temporary:
            _make_folder(target.parent)
            won = self._link(temporary, target)
        if won:
            _sync(target.parent)
        return won

    def _link(self, temporary: Path, target: Path) -> bool:
        try:
            os.link(temporary, target)
        except FileExistsError:
            # NFS repeats a link whose reply was lost and then finds its own; two names mean that ours won.
            return temporary.stat().st_nlink == 2
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise LakeUnreachable(
                url=self.uri,
                why="its filesystem has no hard links, so two workers could both commit a batch",
                fix="Put the lake on ext4, xfs, btrfs, APFS or NFS, or on S3.",
            ) from error
        return True

    def _publish(self, key: str, source: Path) -> None:
        target = self.path(key)
        _make_folder(target.parent)
        _sync(source)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._publish_across(source, target)
        _sync(target.parent)

    def _publish_across(self, source: Path, target: Path) -> None:
        """From another filesystem: copied beside first, so that readers never see half a file."""
        temporary = self.scratch() / uuid4().hex
        try:
            shutil.copyfile(source, temporary)
            _sync(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        source.unlink()

    def _keys(self, prefix: str) -> Keys:
        folder = self.path(check_prefix(prefix)[:-1]) if prefix else self.root
        keys: Keys = []
        for parent, folders, names in os.walk(folder):
            if Path(parent) == self.root and SCRATCH in folders:
                folders.remove(SCRATCH)
            keys += [os.path.relpath(os.path.join(parent, name), self.root) for name in names]
        return sorted(key.replace(os.sep, "/") for key in keys)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(FileNotFoundError, NotADirectoryError):
                self.path(key).unlink()

    @contextmanager
    def _finished(self, data: bytes) -> Iterator[Path]:
        """A synced file with these bytes, readable as the umask says, and gone afterwards."""
        temporary = self.scratch() / uuid4().hex
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _clear_scratch(self) -> None:
        oldest = time() - STALE_S
        for entry in os.scandir(self.scratch()):
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime >= oldest:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


@contextmanager
def _missing(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NoSuchObject(key=key) from None


def _make_folder(folder: Path) -> None:
    """Make it and its parents, and sync each new name, so that a power cut cannot lose the path to a file."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
