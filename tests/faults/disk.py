"""Disks that fill up: small filesystems of our own."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.private import absent


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A filesystem of that size until the block ends; skips by name where none can be mounted."""
    if os.geteuid() != 0:
        absent("a small filesystem can be mounted by root alone")
    with tempfile.TemporaryDirectory(prefix="tierwise-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            absent("tmpfs cannot be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Until not one byte more fits on it."""
    with _filler(disk).open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def free(disk: Path) -> None:
    _filler(disk).unlink(missing_ok=True)


def _filler(disk: Path) -> Path:
    return disk / "filler"
