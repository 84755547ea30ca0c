"""The end of a job is told: signed, once for each generation, again where it failed, never to the job's harm."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeVar, cast

import msgspec
import pytest

from jobs.options import services_of
from pipeline.settings import Settings
from pipeline.webhook import GIVE_UP_MS, deliver
from pipeline.work import Services
from schemas.ids import JobId
from tests.end_to_end.command import Tierwise, kill_when, patched
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_schedule import comes_due, ran, spec_of
from tests.webserver import serving
from workers.dispatch import Dispatch
from workers.sweeper import sweep

T = TypeVar("T")
KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass
class Receiver:
    """What it was sent, and what it answers."""

    url: str = ""
    status: int = 204
    hangs: bool = False
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    known = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            message, sent, signed = (
                self.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
            )
            expected = hmac.new(KEY, f"{message}.{sent}.".encode() + body, hashlib.sha256).digest()
            known.got.append(
                {
                    "id": message,
                    "valid": signed == "v1," + base64.b64encode(expected).decode(),
                    "late_s": abs(time.time() - int(sent)),
                    "body": json.loads(body),
                }
            )
            while known.hangs:
                time.sleep(0.05)
            self.send_response(known.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with serving(Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        yield known
        known.hangs = False


@pytest.fixture
def place(place: Tierwise) -> Tierwise:
    return replace(place, settings={"HOOK_SECRET": SECRET})


def told_by(place: Tierwise, receiver: Receiver, **more: Any) -> str:
    return spec_of(place, webhook={"url": receiver.url, "secret_env": "HOOK_SECRET"}, **more)


def with_services(place: Tierwise, work: Callable[[Services], Awaitable[T]]) -> T:
    async def run() -> T:
        async with services_of(Settings(lake=str(place.folder / "lake"))) as services:
            return await work(services)

    with patched(place.settings):
        return asyncio.run(run())


def webhook(place: Tierwise, job: str) -> dict[str, Any]:
    found: dict[str, Any] = tierwise(place, "status", job, "--json").json()["webhook"]
    return found


def test_each_generation_is_told_once_and_signed(place: Tierwise, receiver: Receiver) -> None:
    # Given a scheduled job with a row that cannot be asked
    (place.folder / "mails.csv").write_text("id,text\n1,An invoice.\n2,\n")
    tierwise(place, "schedule", "add", told_by(place, receiver))
    comes_due(place, 1_800_000_000_000)
    [ran_once] = ran(place, code=3)
    # Then its end is told, as the commands tell it
    [got] = receiver.got
    assert got["valid"]
    assert got["late_s"] < 300
    assert got["body"]["type"] == "job.closed"
    data = got["body"]["data"]
    assert data["job"] == ran_once["job"]
    assert (data["exit_code"], data["counts"]) == (3, {"answered": 1, "rejected": 1})
    assert (data["schedule"], data["scheduled_at"]) == ("nightly", "2027-01-15T08:00:00+00:00")
    assert (data["generation"], data["status"], data["certificate"]) == (1, "closed", None)
    assert ran_once["webhook"]["state"] == "delivered"
    # And not again, whoever looks
    assert ran(place) == []
    with_services(place, deliver)
    assert len(receiver.got) == 1
    assert "webhook: delivered" in tierwise(place, "status", data["job"]).out


def test_a_receiver_that_fails_harms_no_job_and_is_tried_for_a_day(
    place: Tierwise, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.webhook.wait_random_exponential", lambda **_: lambda state: 0)
    receiver.status = 503
    for job in ("one", "two"):
        assert (
            tierwise(place, "run", told_by(place, receiver), "--job", job, "--json").json()["exit_code"] == 0
        )
    state = webhook(place, "one")
    assert (state["state"], state["attempts"], state["note"]) == ("waiting", 3, "the receiver answered 503")
    assert "webhook: waiting: the receiver answered 503" in tierwise(place, "status", "one").out
    # When the receiver is back, then the sweeper tells it, by the same id
    receiver.status = 200

    async def sweep_later(services: Services) -> None:
        later = replace(services, clock=lambda: services.clock() + 120_000)
        await sweep(later, cast(Dispatch, None))

    with_services(place, sweep_later)
    assert webhook(place, "one")["state"] == "delivered"
    assert len({got["id"] for got in receiver.got}) == 2
    assert all(got["valid"] for got in receiver.got)
    # When it stays away for a day, or wants no more, then it is given up
    receiver.status = 503
    tierwise(place, "run", told_by(place, receiver), "--job", "three")

    async def a_day_later(services: Services) -> None:
        await deliver(replace(services, clock=lambda: services.clock() + GIVE_UP_MS))

    with_services(place, a_day_later)
    assert webhook(place, "three")["state"] == "given_up"
    receiver.status = 410
    tierwise(place, "run", told_by(place, receiver), "--job", "four")
    assert webhook(place, "four")["state"] == "given_up"


def test_killed_in_the_middle_it_is_told_again_by_the_same_id(place: Tierwise, receiver: Receiver) -> None:
    # Given a process that is killed with the message sent and no answer to it
    receiver.hangs = True
    running = place.start("run", told_by(place, receiver), "--job", "one")
    kill_when(running, lambda: bool(receiver.got), timeout=120)
    receiver.hangs = False
    assert webhook(place, "one")["state"] == "waiting"
    # When the next one looks, then it is told again
    ran(place)
    assert webhook(place, "one")["state"] == "delivered"
    assert [got["id"] for got in receiver.got] == [receiver.got[0]["id"]] * len(receiver.got)
    assert len(receiver.got) == 2
    assert all(got["valid"] for got in receiver.got)


def test_a_resumed_job_is_told_anew(place: Tierwise, receiver: Receiver) -> None:
    async def again(services: Services) -> None:
        # Given what was told of the first generation, and one more that closed
        [first] = await services.ledger.deliveries.of(JobId("one"))
        second = msgspec.structs.replace(
            first, generation=2, message="msg_second", state="waiting", next_at=0
        )
        await services.ledger.deliveries.put(second)
        # Then it waits while that generation is open
        await services.ledger.start_generation(JobId("one"), first.generation, 0)
        await deliver(services)
        assert len(receiver.got) == 1
        await services.ledger.close_generation(JobId("one"), second.generation, services.clock())
        await deliver(services)

    tierwise(place, "run", told_by(place, receiver), "--job", "one")
    with_services(place, again)
    assert [got["id"] for got in receiver.got][1:] == ["msg_second"]


def test_a_missing_secret_is_said_before_the_job(place: Tierwise, receiver: Receiver) -> None:
    bare = replace(place, settings={})
    said = tierwise(bare, "run", told_by(place, receiver), code=2)
    assert "webhook.secret_env" in said.err
    assert "HOOK_SECRET is not set" in said.err
    assert "whsec_$(openssl" in said.err
    assert receiver.got == []
