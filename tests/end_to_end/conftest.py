from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
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


@pytest.fixture
def one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs submitted in this process draw the same rows each time."""
    monkeypatch.setattr("pipeline.submit.job.new_draw_key", lambda: b"the same each time")


def write_spec(place: Tierwise, spec: dict[str, object]) -> str:
    path = place.folder / f"{spec['name']}.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return str(path)


def run_spec(place: Tierwise, spec: dict[str, Any], job: str) -> dict[str, Any]:
    """The spec as a job of that name, in this process; what its report says."""
    said: dict[str, Any] = tierwise(place, "run", write_spec(place, spec), "--job", job, "--json").json()
    return said
