"""The notebook an analyst starts from, run on a lake that two jobs left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.command import ROOT, Tierwise
from tests.end_to_end.conftest import run_spec
from tests.jobs import write_documents

NOTEBOOK = ROOT / "jobs" / "examples" / "analysis.ipynb"
# In a process of its own: a kernel's sockets and loops are none of this one's.
RUN = """
import json, sys
import nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=240, startup_timeout=240, kernel_name="python3").execute()
json.dump(book.cells, sys.stdout)
"""
TEXTS = ["a red apple", "a green plum", "a red plum", "a brown bear"]
GOLD = ["fruit", "fruit", "fruit", "animal"]


def spec_of(place: Tierwise, keywords: dict[str, list[str]]) -> dict[str, Any]:
    path = write_documents(place.folder / "fruit.parquet", TEXTS, GOLD)
    return {
        "name": "fruit",
        "task": {"kind": "classify", "labels": ["fruit", "animal", "other"], "abstain": "other"},
        "input": {"path": str(path), "id": "id", "gold": "gold"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": keywords, "accept": 0}],
        "budget": {"usd": 0, "allow": {"failed": 1}},
    }


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each code cell printed and showed."""
    place = Tierwise(folder=tmp_path_factory.mktemp("notebook"))
    run_spec(place, spec_of(place, {"fruit": ["apple"], "animal": ["bear", "red"]}), "first")
    run_spec(place, spec_of(place, {"fruit": ["apple", "plum"], "animal": ["bear"]}), "second")
    environment = {**os.environ, "TIERWISE_LAKE": str(place.folder / "lake"), "IPYTHONDIR": str(place.folder)}
    environment.pop("TIERWISE_JOB", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK)],
        cwd=place.folder, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    table = pq.read_table(place.folder / "answers.parquet")
    assert table["answer"].to_pylist() == ["fruit", "fruit", "fruit", "animal"]
    return ["".join(map(_shown, cell["outputs"])) for cell in json.loads(done.stdout) if "outputs" in cell]


def _shown(output: dict[str, Any]) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain") or "")


def cell(said: list[str], *words: str) -> str:
    return next(text for text in said if all(word in text for word in words))


def test_it_shows_what_the_lake_holds(said: list[str]) -> None:
    assert "job: second" in said[0]
    assert "The one final row of each query." in cell(said, "dearest_queries")
    assert "P(correct) of the answer" in cell(said, "confidence", "DOUBLE")
    assert "keyword-1:" in cell(said, "presumed_usd", "purpose")
    # All four are right: Wilson's interval of 4 in 4 begins at .510
    assert "0.51" in cell(said, "(root)", "low")
    assert "1.0" in cell(said, "stated", "right")
    assert "last tier of the plan" in cell(said, "tiers_asked", "share")
    assert "against: first" in "".join(said)
    assert "4 rows; decimal128(18, 9)" in said[-1]


def test_labels_that_became_others(said: list[str]) -> None:
    flips = cell(said, "before", "after", "queries")
    assert "animal" in flips or "other" in flips
    assert "fruit" in flips


def test_it_is_kept_without_outputs() -> None:
    book = json.loads(Path(NOTEBOOK).read_text(encoding="utf-8"))
    code = [each for each in book["cells"] if each["cell_type"] == "code"]
    assert code
    assert all(each["outputs"] == [] and each["execution_count"] is None for each in code)
