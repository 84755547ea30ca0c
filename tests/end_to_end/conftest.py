from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.jobs import PRICES
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from
from tests.upstream.fixture import upstreams as upstreams


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """A folder with a local lake and a SQLite ledger in it."""
    return Tierwise(folder=tmp_path)


@contextmanager
def textclass(dataset: str, **behaviour: Any) -> Iterator[Upstream]:
    """The recorded answers of three models to one classification set, over HTTP. The sets share texts, so one
    upstream serves one set."""
    config = {
        "outcomes": str(data_file("outcomes_textclass_en.parquet")),
        "dataset": [f"textclass/{dataset}"],
        "models": list(PRICES),
        "prices": PRICES,
    }
    with start_upstream(config_from({**config, **behaviour})) as upstream:
        yield upstream


def write_spec(place: Tierwise, spec: dict[str, object]) -> str:
    path = place.folder / f"{spec['name']}.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return str(path)
