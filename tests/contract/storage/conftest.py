"""Every test here runs on memory, a local folder and S3, unless it names its store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from tests.s3server import S3Server, start_s3_server
from tests.s3server.server import CREDENTIALS


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with start_s3_server() as server:
        yield server


@pytest.fixture
def s3_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(f"lake-{uuid4().hex}")


@pytest.fixture
async def s3(s3_uri: str) -> AsyncIterator[Storage]:
    store = open_storage(s3_uri.replace("?", "/some/prefix?"))
    yield store
    await store.close()


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "the lake's [1]*"))


@pytest.fixture(params=["memory", "local", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Through a plain string, so that only the S3 tests start the server."""
    if request.param == "memory":
        return open_storage("memory://")
    store: Storage = request.getfixturevalue(request.param)
    return store
