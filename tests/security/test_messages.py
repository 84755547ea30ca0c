"""What workers make of messages: JSON claim checks are worked on, anything else is refused unread."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kombu import Connection, Exchange

from tests.end_to_end.command import Tierwise, workers
from tests.end_to_end.conftest import write_spec
from tests.jobs import write_documents
from tests.services import RABBITMQ, REDIS, broker_queue


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def local_spec(place: Tierwise) -> str:
    source = write_documents(place.folder / "documents.parquet", ["yes", "no"])
    spec = {
        "name": "local",
        "task": {"kind": "classify", "labels": ["yes", "no"]},
        "input": {"path": str(source), "id": "id"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"yes": ["yes"], "no": ["no"]}}],
        "budget": {"usd": "0"},
    }
    return write_spec(place, spec)


def on_broker(place: Tierwise, url: str, queue: str) -> Tierwise:
    return Tierwise(folder=place.folder, settings={"TIERWISE_BROKER": url, "TIERWISE_QUEUE": queue})


def publish(
    url: str, queue: str, body: object, kind: str, encoding: str, task: str = "tierwise.batch"
) -> None:
    options = {"global_keyprefix": f"{queue}:"} if url.startswith("redis") else {}
    with Connection(url, transport_options=options) as connection:
        headers = {
            "task": task,
            "id": "x",
            "lang": "py",
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "root_id": "x",
        }
        connection.Producer().publish(
            body, exchange=Exchange(queue), routing_key=queue, content_type=kind, content_encoding=encoding,
            headers=headers, correlation_id="x",
        )  # fmt: skip


@pytest.mark.parametrize(("name", "url"), [("RabbitMQ", RABBITMQ), ("Redis", REDIS)])
def test_only_json_is_read_and_nothing_stops_a_worker(place: Tierwise, name: str, url: str) -> None:
    bomb = place.folder / "exploded"
    with broker_queue(name, url) as queue:
        place = on_broker(place, url, queue)
        with workers(place, 1) as (worker,):
            # Given messages that would run code, or name what is not there
            _wait_for(place, "ready.")
            pickled = pickle.dumps(((Bomb(bomb),), {}, {}))
            publish(url, queue, pickled, "application/x-python-serialize", "binary")
            document = (
                f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{bomb}']]"
            )
            publish(url, queue, document.encode(), "application/x-yaml", "utf-8")
            publish(url, queue, b"[[1,", "application/json", "utf-8")
            publish(url, queue, b'[["../../etc", 1, 0], {}, {}]', "application/json", "utf-8")
            publish(url, queue, b'[["..\\u0000/x", "g", {}], {}, {}]', "application/json", "utf-8")
            publish(url, queue, b"[[], {}, {}]", "application/json", "utf-8", task="os.system")
            # When a job comes after them
            place.run("submit", local_spec(place), "--job", "j")
            place.wait_closed("j")
            # Then it is worked on by the same process, and none of them ran
            assert worker.poll() is None
    assert not bomb.exists()
    said = (place.folder / "workers.log").read_text()
    for kind in ("pickle", "yaml"):
        assert f"Refusing to deserialize untrusted content of type {kind}" in said
    assert "unregistered task" in said
    assert not list(place.folder.parent.glob("etc*"))


def test_beat_has_the_workers_sweep(place: Tierwise) -> None:
    # Given a beat, a second one, and a worker that would by itself sweep much later
    with broker_queue("RabbitMQ", RABBITMQ) as queue:
        place = on_broker(place, RABBITMQ, queue)
        before = set(place.folder.iterdir())
        beats = [_beat(place) for _ in range(2)]
        try:
            with workers(place, 1):
                # Then the sweeps arrive
                _wait_for(place, "Task tierwise.sweep", times=3)
            assert all(beat.poll() is None for beat in beats)
        finally:
            for beat in beats:
                beat.terminate()
        # And they end when told, and leave no state behind
        assert [beat.wait(20) for beat in beats] == [0, 0]
        left = {path.name for path in set(place.folder.iterdir()) - before}
        assert left <= {"workers.log", "lake"}


def _beat(place: Tierwise) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "beat", "--every", "1"], cwd=place.folder, env=place.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def _wait_for(place: Tierwise, text: str, times: int = 1, timeout: float = 60) -> None:
    log, end = place.folder / "workers.log", time.monotonic() + timeout
    while not log.exists() or log.read_text().count(text) < times:
        assert time.monotonic() < end, log.read_text()[-3000:] if log.exists() else "no log"
        time.sleep(0.1)
