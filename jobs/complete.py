"""Completion of job ids in the shell. What is imported here is light: a shell waits for it at each Tab."""

import os
import shlex
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

TAKE_JOBS = {
    ("status",): 1, ("resume",): 1, ("cancel",): 1, ("report",): 1, ("why",): 1, ("judges",): 1, ("certify",): 1,
    ("feedback",): 1, ("replay",): 1, ("diff",): 2, ("review", "list"): 1, ("review", "export"): 1,
    ("review", "import"): 1, ("review", "serve"): 1,
}  # fmt: skip  # command -> how many of its first arguments are jobs
LAKE = "--lake"
VALUED = (LAKE, "--ledger", "--add-budget", "--output", "-o", "--reviewer", "--port", "--limit")


def job_ids(incomplete: str) -> list[str]:
    """The jobs of a local lake that begin so, the newest first, and `latest`; a lake on S3 is not asked."""
    folder = _lake_folder(_words())
    if folder is None:
        return []
    try:
        with os.scandir(folder / "_jobs") as entries:
            jobs = sorted(
                ((each.stat().st_mtime, each.name) for each in entries if each.is_dir()), reverse=True
            )
    except OSError:
        return []
    names = [name for _, name in jobs]
    return [name for name in [*names, *(["latest"] if names else [])] if name.startswith(incomplete)]


def completes_a_job() -> bool:
    """Whether a shell asks for a job as a command's argument; then it is answered without loading that command."""
    if not os.environ.get("_TIERWISE_COMPLETE", "").startswith("complete_"):
        return False
    words = _words()
    given = _arguments(words[1:])
    for command, jobs in TAKE_JOBS.items():
        behind = len(given) - len(command) - 1  # the last one is what is being completed
        if tuple(given[: len(command)]) == command and 0 <= behind < jobs:
            return not words[-1].startswith("-")
    return False


def complete() -> None:
    """Answers as Typer answers every shell, for a command that takes any number of jobs."""
    app = typer.Typer(add_completion=True)

    @app.command(context_settings={"ignore_unknown_options": True})
    def jobs(
        job: Annotated[list[str], typer.Argument(autocompletion=job_ids)],
        lake: Annotated[str, typer.Option(LAKE)] = "",
    ) -> None: ...

    app(args=[], prog_name="tierwise")


def _words() -> list[str]:
    """The command line so far, the last word being the one that is completed; bash and zsh tell it differently."""
    bash, others = os.environ.get("COMP_WORDS"), os.environ.get("_TYPER_COMPLETE_ARGS")
    text = bash if bash is not None else others or ""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is not closed yet
        words = text.split()
    if bash is not None:
        place = int(os.environ.get("COMP_CWORD", len(words)))
        return [*words, ""][: place + 1]
    return [*words, ""] if text.endswith(" ") else words


def _arguments(words: Sequence[str]) -> list[str]:
    """Words that are no option and no option's value."""
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("-") and before not in VALUED
    ]


def _lake_folder(words: Sequence[str]) -> Path | None:
    """As settings have it, without loading them."""
    named = [after for word, after in pairwise(words) if word == LAKE]
    lake = named[-1] if named else os.environ.get("TIERWISE_LAKE") or _from_file() or "lake"
    if lake.startswith("file://"):
        return Path(unquote(urlsplit(lake).path))
    return None if "://" in lake else Path(lake).expanduser()


def _from_file() -> str:
    try:
        with open("tierwise.toml", "rb") as file:
            return str(tomllib.load(file).get("lake", ""))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return ""
