"""Completion in a real bash: job ids and ready questions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import ROOT, Tierwise

HEAVY = ("duckdb", "sqlalchemy", "pyarrow", "pydantic_settings", "aiohttp", "celery", "numpy")


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """Two jobs in a lake, and `tierwise` on the PATH."""
    for job in ("mails-1", "bills-1"):
        (tmp_path / "lake" / "_jobs" / job).mkdir(parents=True)
    command = tmp_path / "bin" / "tierwise"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jobs.cli "$@"\n')
    command.chmod(0o755)
    return Tierwise(folder=tmp_path)


def bash(place: Tierwise, script: str) -> str:
    path = f"{place.folder / 'bin'}:{os.environ['PATH']}"
    environment = {**place.environment(), "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=place.folder, env=environment, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def tab(*words: str) -> str:
    """Bash as it stands after Tab on the last of the words: what it offers, in one line."""
    listed = " ".join(f"'{word}'" for word in words)
    return f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _tierwise_completion tierwise; echo ${{COMPREPLY[@]}};"


@pytest.mark.timeout(280)
def test_tab_in_bash(place: Tierwise) -> None:
    # Given a shell that has loaded what `tierwise` gives it
    source = 'eval "$(_TIERWISE_COMPLETE=source_bash tierwise)";'
    pressed = [
        tab("tierwise", "status", "m"),
        tab("tierwise", "why", ""),
        tab("tierwise", "diff", "mails-1", "b"),
        tab("tierwise", "review", "serve", "--lake", "elsewhere", ""),
        tab("tierwise", "query", "confu"),
    ]
    # When Tab is pressed, then it offers jobs of the lake, and ready questions
    said = bash(place, source + "".join(pressed)).splitlines()
    assert said[0] == "mails-1"
    assert sorted(said[1].split()) == ["bills-1", "latest", "mails-1"]
    assert said[2:] == ["bills-1", "", "confusion"]


def test_a_job_is_completed_without_what_commands_load(place: Tierwise) -> None:
    environment = {
        **place.environment(), "_TIERWISE_COMPLETE": "complete_bash", "COMP_WORDS": "tierwise status ma",
        "COMP_CWORD": "2",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs.cli"],
        cwd=place.folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["mails-1"]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jobs.complete" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_script_for_each_shell(place: Tierwise) -> None:
    script = "for shell in bash zsh fish; do _TIERWISE_COMPLETE=source_$shell tierwise; done"
    said = bash(place, script)
    assert said.count("_TIERWISE_COMPLETE=complete_") == 4  # fish asks twice
