from pathlib import Path

import pytest

from tests.end_to_end.command import Tierwise


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """A folder with a local lake and a SQLite ledger in it."""
    return Tierwise(folder=tmp_path)
