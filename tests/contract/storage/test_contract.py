"""What every store promises."""

import asyncio
from pathlib import Path

import pytest

from pipeline.ports.storage import Storage
from schemas.errors import NoSuchObject

CLIMBERS = ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/./b", "a\\..\\b", "a/..", "a\0b"]


async def test_reads_what_was_written(storage: Storage) -> None:
    await storage.write("a/b/c.bin", b"\0one")
    await storage.write("a/b/c.bin", b"two")
    assert await storage.read("a/b/c.bin") == b"two"


@pytest.mark.parametrize("key", ["job=J-1.x_2/data.parquet", "odd names/ü %20+&='.json", "d/e/f/g/h/i"])
async def test_keys_come_back_as_they_were(storage: Storage, key: str) -> None:
    await storage.write(key, b"x")
    assert await storage.read(key) == b"x"
    assert await storage.list("") == [key]


async def test_a_missing_object_is_named(storage: Storage, tmp_path: Path) -> None:
    await storage.write("folder/object", b"x")
    for key in ("gone", "folder", "folder/object/below"):
        with pytest.raises(NoSuchObject, match=key):
            await storage.read(key)
        with pytest.raises(NoSuchObject, match=key):
            await storage.fetch(key, tmp_path / "copy")


async def test_fetch_copies(storage: Storage, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    await storage.write("big", data)
    await storage.fetch("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


async def test_create_keeps_the_first(storage: Storage) -> None:
    assert await storage.create("c/1.json", b"first") is True
    assert await storage.create("c/1.json", b"second") is False
    assert await storage.create("c/1.json", b"first") is False
    assert await storage.read("c/1.json") == b"first"


async def test_a_race_of_twenty_has_one_winner(storage: Storage) -> None:
    for key in ("race/1", "race/2", "race/3"):
        won = await asyncio.gather(*(storage.create(key, b"%d" % number) for number in range(20)))
        assert won.count(True) == 1
        assert await storage.read(key) == b"%d" % won.index(True)


async def test_an_object_deleted_can_be_created_again(storage: Storage) -> None:
    await storage.create("k", b"1")
    await storage.delete(["k"])
    assert await storage.create("k", b"2")


async def test_publish_replaces_and_consumes_its_file(storage: Storage, tmp_path: Path) -> None:
    for content in (b"old", b"newer"):
        (tmp_path / "done").write_bytes(content)
        await storage.publish("t/job=J/data.parquet", tmp_path / "done")
        assert not (tmp_path / "done").exists()
        assert await storage.read("t/job=J/data.parquet") == content


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # a part is 16 MiB of bytes
async def test_publish_of_many_megabytes(storage: Storage, tmp_path: Path) -> None:
    data = b"0123456789abcdef" * (35 * 2**16)  # 35 MiB: three parts of a multipart upload
    (tmp_path / "done").write_bytes(data)
    await storage.publish("big", tmp_path / "done")
    assert await storage.read("big") == data


async def test_lists_below_a_folder_sorted(storage: Storage) -> None:
    keys = ["a/2", "a/10", "a/b/1", "ab/1", "b"]
    for key in keys:
        await storage.write(key, b"")
    assert await storage.list("a/") == ["a/10", "a/2", "a/b/1"]
    assert await storage.list("") == sorted(keys)
    assert await storage.list("none/") == []


async def test_lists_more_than_a_page(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.s3._PAGE", 10)
    keys = [f"many/{number:05d}" for number in range(35)]
    await asyncio.gather(*(storage.write(key, b"x") for key in keys))
    assert await storage.list("many/") == keys
    await storage.delete(keys)
    assert await storage.list("many/") == []


async def test_delete_forgives_what_is_gone(storage: Storage) -> None:
    await storage.write("here", b"x")
    await storage.delete(["gone", "here", "here/below"])
    await storage.delete([])
    assert await storage.list("") == []


@pytest.mark.parametrize("key", CLIMBERS)
async def test_a_key_cannot_climb_out(storage: Storage, key: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for attempt in (
        storage.read(key),
        storage.write(key, b""),
        storage.create(key, b""),
        storage.fetch(key, tmp_path / "copy"),
        storage.publish(key, tmp_path / "file"),
        storage.delete([key]),
    ):
        with pytest.raises(ValueError, match="no key"):
            await attempt


async def test_a_prefix_names_a_folder(storage: Storage) -> None:
    for prefix in ("a", "../", "/", "a//"):
        with pytest.raises(ValueError, match=r"prefix|key"):
            await storage.list(prefix)


async def test_probe_leaves_nothing(storage: Storage) -> None:
    await storage.probe()
    assert await storage.list("") == []


async def test_readers_never_see_half_a_write(storage: Storage, tmp_path: Path) -> None:
    """Given an object that is replaced all the time, every read is one whole version."""
    versions = [bytes([number]) * 200_000 for number in range(12)]
    await storage.write("k", versions[0])

    async def replace() -> None:
        for number, version in enumerate(versions):
            if number % 2:
                await storage.write("k", version)
            else:
                await asyncio.to_thread((tmp_path / "next").write_bytes, version)
                await storage.publish("k", tmp_path / "next")

    async def look() -> None:
        while not writing.done():
            assert await storage.read("k") in versions
            await asyncio.sleep(0)

    writing = asyncio.create_task(replace())
    await asyncio.gather(writing, *(look() for _ in range(4)))


async def test_close_twice(storage: Storage) -> None:
    await storage.write("k", b"x")
    await storage.close()
    await storage.close()
    if storage.uri.startswith("s3://"):
        assert await storage.read("k") == b"x"
        await storage.close()
