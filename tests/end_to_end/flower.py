"""Flower as an operator starts it, on RabbitMQ."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.listen import fetch, free_port, wait_for
from tests.services import RABBITMQ, need


@contextmanager
def started_flower(folder: Path) -> Iterator[str]:
    """Its URL once it answers; its log lies in the folder."""
    pytest.importorskip("flower", reason="flower is not installed")
    need("RabbitMQ", RABBITMQ)
    port = free_port()
    command = ["celery", f"--broker={RABBITMQ}", "flower", "--address=127.0.0.1", f"--port={port}"]
    environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    with (folder / "flower.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: fetch(f"{url}/healthcheck")[0] == 200 or None, "Flower answers")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
