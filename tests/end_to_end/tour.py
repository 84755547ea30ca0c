"""The tour of the README, walked: its commands are run, and what they print is what stands there.

`python -m tests.end_to_end.tour` walks it and writes what was printed into the README."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from shlex import split
from shutil import copytree
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources import read_rows
from tests.end_to_end.command import ROOT, Tierwise
from tests.end_to_end.inside import tierwise
from tests.upstream.client import start_upstream
from tests.upstream.config import config_from

README = ROOT / "README.md"
TICKETS = ROOT / "jobs" / "examples" / "tickets.csv"
TEXT, GOLD = 'Beschreibung "lang"', "Kategorie: A/B"
LISTED = (
    "gpt-4.1-nano=0.1/0.4",
    "gpt-4.1-mini=0.4/1.6",
    "gpt-4.1=2/8",
)  # what no endpoint of this machine has
RIGHT = {"gpt-4.1-nano": 0.8, "gpt-4.1-mini": 0.9, "gpt-4.1": 0.95}  # shares, by a keyed draw
_TOUR = re.compile(r"(?<=\n## A first job, step by step\n).*?(?=\n## )", re.DOTALL)
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_MOVING = (
    (re.compile(r"tickets-\d{8}-\d{6}-[0-9a-f]{4}"), "tickets-20261121-093000-51c2"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d:\d\d)?"), "2026-11-21 09:30+00:00"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "12 ms"),
    (re.compile(r"(?<=^call )[0-9a-f]{8}", re.MULTILINE), "01a20032"),
    (re.compile(r"(?<=\nLake: ).*"), "lake"),
    (re.compile(r"[ \t]+(?=\n|$)"), ""),
)


def steps(readme: str) -> list[tuple[str, str]]:
    """Each command of the tour with what is said to come of it."""
    found = []
    for block in _BLOCK.findall(_TOUR.search(readme)[0]):  # type: ignore[index]
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed.rstrip("\n")))
    return found


def still(printed: str) -> str:
    """Without what differs from one walk to the next: ids, dates, durations."""
    for moving, instead in _MOVING:
        printed = moving.sub(instead, printed)
    return printed.rstrip("\n")


def walk(folder: Path, readme: str) -> Iterator[tuple[str, str]]:
    """Each command of the tour with what it prints."""
    copytree(ROOT / "jobs" / "examples", folder / "jobs" / "examples")
    with _provider(folder) as url:
        settings = {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "of-the-tour",
            "COLUMNS": "100",
            "TIERWISE_LAKE": "lake",
        }
        place = Tierwise(folder=folder, settings=settings)
        for command, _ in steps(readme):
            name, *arguments = split(command)
            if arguments[:1] == ["init"]:
                arguments += [part for price in LISTED for part in ("--price", price)]
            if name == "tierwise":
                with patch.object(sys, "argv", ["tierwise"]), patch("shutil.which", lambda name: name):
                    said = tierwise(place, *arguments, code=None)
                assert "Error" not in said.err, f"`{command}`: {said.err}"
                yield command, still(said.out)
            else:
                ran = subprocess.run(
                    command, shell=True, cwd=folder, capture_output=True, text=True, check=True
                )
                yield command, still(ran.stdout)


@contextmanager
def _provider(folder: Path) -> Iterator[str]:
    """Models that are right on a share of the tickets, and say how sure they are."""
    rows = [row for row in read_rows(TICKETS, "auto") if row[TEXT]]
    labels = sorted({row[GOLD] for row in rows})
    answers = [
        {"dataset": "tickets", "model": model, **_answer(model, right, row[TEXT], row[GOLD], labels)}
        for model, right in RIGHT.items()
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(answers), folder / "answers.parquet")
    with start_upstream(config_from({"outcomes": str(folder / "answers.parquet"), "free": True})) as running:
        yield running.url


def _answer(model: str, right: float, text: str, gold: str, labels: list[str]) -> dict[str, str | float]:
    drawn = int.from_bytes(blake2b(f"{model}|{text}".encode(), digest_size=8).digest()) / 2**64
    if drawn < right:
        return {"text": text, "response": gold, "confidence": round(0.99 - 0.3 * drawn / right, 4)}
    wrong = [label for label in labels if label != gold]
    sure = (drawn - right) / (1 - right)
    return {
        "text": text,
        "response": wrong[int(sure * len(wrong))],
        "confidence": round(0.5 + 0.45 * sure, 4),
    }


def rewritten(readme: str, walked: list[tuple[str, str]]) -> str:
    """The README with what was printed in place of what stood there."""
    left = iter(walked)

    def block(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.*)$", match[1], flags=re.MULTILINE)
        said = [next(left) for _ in commands]
        return (
            "```console\n"
            + "".join(f"$ {command}\n{out}\n" if out else f"$ {command}\n" for command, out in said)
            + "```"
        )

    return _TOUR.sub(lambda tour: _BLOCK.sub(block, tour[0]), readme)


if __name__ == "__main__":
    written = README.read_text(encoding="utf-8")
    with TemporaryDirectory() as folder:
        README.write_text(rewritten(written, list(walk(Path(folder), written))), encoding="utf-8")
