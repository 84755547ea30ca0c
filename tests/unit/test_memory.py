"""Submitting streams: its memory does not grow with the file."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FEW, MANY = 5_000, 240_000  # rows
MORE_MB = 80  # for what allocators keep; the rows of the large file take 240 and, as objects, far more

_INGEST = """
import asyncio, sys
from pathlib import Path
from pipeline.ingest import ingest
from pipeline.storage.local import LocalStorage
from schemas.ids import JobId
from schemas.job import Input

path, rows = Path(sys.argv[1]), int(sys.argv[2])
source = Input(path=str(path), id="id", text="text")
done = asyncio.run(ingest(LocalStorage(path.parent / f"lake-{rows}"), JobId("j"), source, [path]))
assert done.queries == rows, done
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def write_rows(folder: Path, kind: str, rows: int) -> Path:
    ids = [f"q{number}" for number in range(rows)]
    texts = [f"{number} " + "so long a text " * 66 for number in range(rows)]
    path = folder / f"{rows}.{kind}"
    match kind:
        case "parquet":
            pq.write_table(pa.table({"id": ids, "text": texts}), path, row_group_size=FEW)
        case "csv":
            path.write_text(
                "id,text\n" + "".join(f"{each[0]},{each[1]}\n" for each in zip(ids, texts, strict=True))
            )
        case _:
            path.write_text(
                "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in zip(ids, texts, strict=True))
            )
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own books")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    few, many = (_peak_mb(write_rows(tmp_path, kind, rows), rows) for rows in (FEW, MANY))
    assert many < few + MORE_MB


def _peak_mb(path: Path, rows: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _INGEST, str(path), str(rows)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1]) / 1024
