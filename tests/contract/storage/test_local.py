"""What only a folder does."""

import errno
import os
from pathlib import Path
from time import time
from typing import Any

import pytest

from pipeline.storage import open_storage
from pipeline.storage.local import LocalStorage
from schemas.errors import LakeUnreachable, UnconditionalStore, UnknownScheme


@pytest.fixture
def lake(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "lake")


async def test_a_link_cannot_lead_out(lake: LocalStorage, tmp_path: Path) -> None:
    await lake.write("a/inside", b"x")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"mine")
    (lake.root / "a" / "out").symlink_to(tmp_path / "secret")
    (lake.root / "a" / "file").symlink_to(tmp_path / "secret" / "file")
    for attempt in (
        lake.read("a/out/file"),
        lake.read("a/file"),
        lake.write("a/out/new", b"x"),
        lake.create("a/out/new", b"x"),
        lake.delete(["a/out/file"]),
    ):
        with pytest.raises(LakeUnreachable, match="leads out"):
            await attempt
    assert os.listdir(tmp_path / "secret") == ["file"]


async def test_the_lake_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    await open_storage(str(tmp_path / "link")).write("k", b"x")
    assert (tmp_path / "real" / "k").read_bytes() == b"x"


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LakeUnreachable, match=r"Not a directory.*TIERWISE_LAKE"):
        await open_storage(str(tmp_path / "file" / "lake")).probe()


async def test_a_filesystem_without_links_is_refused(
    lake: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(LakeUnreachable, match="hard links"):
        await lake.probe()
    assert await lake.list("") == []


async def test_a_link_that_overwrites_is_found_out(
    lake: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStorage, "_create", lambda self, key, data: self._write(key, data) or True)
    with pytest.raises(UnconditionalStore, match="ignores conditional writes"):
        await lake.probe()


async def test_publish_from_another_filesystem(
    lake: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "done").write_bytes(b"whole")
    rename = os.replace

    def across(source: Path, target: Path) -> None:
        if source == tmp_path / "done":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "replace", across)
    await lake.publish("t/k", tmp_path / "done")
    assert await lake.read("t/k") == b"whole"
    assert not (tmp_path / "done").exists()
    assert os.listdir(lake.root / "_tmp") == []


async def test_probe_clears_what_the_dead_left(lake: LocalStorage) -> None:
    (lake.scratch() / "merge-old").mkdir()
    for name in ("merge-old/part", "old", "new"):
        (lake.scratch() / name).write_bytes(b"half")
    for name in ("merge-old", "old"):
        os.utime(lake.scratch() / name, (time() - 2 * 86_400,) * 2)
    await lake.probe()
    assert os.listdir(lake.scratch()) == ["new"]
    assert await lake.list("") == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the names of open files from /proc")
async def test_everything_is_synced(
    lake: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it gets its name; the folder after; each new folder's parent too."""
    synced: list[str] = []
    sync = os.fsync

    def record(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", record)
    await lake.create("a/b/k", b"x")
    names = [Path(path).relative_to(tmp_path).parts for path in synced]
    assert names[0][:2] == ("lake", "_tmp")
    assert names[1:] == [("lake",), ("lake", "a"), ("lake", "a", "b")]


def test_what_a_uri_opens(tmp_path: Path) -> None:
    assert open_storage(f"file://{tmp_path}/a%20b").uri == f"{tmp_path}/a b"
    assert open_storage("relative/lake").uri == str(Path.cwd() / "relative/lake")
    for uri in (
        "gs://bucket",
        "file://host/x",
        "s3://",
        "s3://key:hidden@bucket",
        "s3://b?secret_key=hidden",
    ):
        with pytest.raises(UnknownScheme, match="Known") as caught:
            open_storage(uri)
        assert "hidden" not in str(caught.value)
