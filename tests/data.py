"""The recorded outcomes and corpora: found beside the checkout or by TIERWISE_DATA, never copied into it."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("TIERWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_file(name: str) -> Path:
    """The file, or a skip that names it."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not here: set TIERWISE_DATA to the folder that holds it")
    return path
