"""Fixtures for the upstream's own tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upstream.fixture import upstreams as upstreams

_REPO_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def recorded() -> Callable[[str], Path]:
    """The path of a file of recorded outcomes; skips where it is not there."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("TIERWISE_DATA", _REPO_ROOT.parent / "shared" / "data"))
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}: set TIERWISE_DATA to the folder that holds it")
        return folder / name

    return find
