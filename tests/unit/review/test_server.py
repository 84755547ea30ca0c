"""The page's server answers the page alone: not another site, another name, another machine."""

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from pipeline.review.server import PortTaken, serving
from tests.unit.review.test_desk import lake, seated, stored

JSON = {"Content-Type": "application/json"}


class Site:
    """The page's address, and requests to it with any headers."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self._session = url, session
        self.origin = "/".join(url.split("/")[:3])

    async def get(
        self, path: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, Mapping[str, str]]:
        async with self._session.get(self.url + path, headers=headers) as reply:
            return reply.status, await reply.text(), dict(reply.headers)

    async def post(self, path: str, body: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        async with self._session.post(self.url + path, data=body, headers=headers) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if reply.content_type == "application/json" else text


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Site, Any]]:
    storage = await lake()
    with seated(storage) as desk:
        async with serving(desk, 0) as url, aiohttp.ClientSession() as session:
            yield Site(url, session), storage


SAID = json.dumps({"query_id": "q1", "label": "billing"})


async def test_the_page_takes_labels() -> None:
    async with site() as (page, storage):
        status, text, headers = await page.get()
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "Document" in text
        started = json.loads((await page.get("start"))[1])
        assert (started["job"], started["reviewer"], started["counts"]["waiting"]) == ("sorted", "anna", 5)
        assert [label["name"] for label in started["task"]["labels"]] == [
            "billing",
            "outage",
            "=account",
            "other",
        ]
        own = {**JSON, "Origin": page.origin}
        status, said = await page.post("take", SAID, own)
        assert (status, said["item"]["query"]["query_id"]) == (200, "q2")
        assert stored(storage) == [("q1", "billing", "anna")]
        wrong = json.dumps({"query_id": "q2", "label": "weather"})
        status, said = await page.post("take", wrong, own)
        assert (status, said["message"]) == (422, "outside the label set: 'weather'")
        assert (await page.post("skip", json.dumps({"query_id": "q0"}), own))[0] == 409
        for broken in ("{", "[]", '{"query_id": 1}'):
            assert (await page.post("take", broken, own))[0] == 400
        assert (await page.post("undo", "{}", own))[1]["label"] == "billing"


async def test_nothing_is_answered_without_the_token() -> None:
    async with site() as (page, _):
        token = urlsplit(page.url).path.strip("/")
        assert len(token) >= 32
        for path in ("", "start", f"{token[:-1]}/start", "../start", f"//{token}/"):
            async with aiohttp.ClientSession() as session, session.get(f"{page.origin}/{path}") as reply:
                assert reply.status == 404
                assert "billing" not in await reply.text()
        assert (await page.get("other"))[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[", ""]
)
async def test_another_name_for_this_machine_is_refused(host: str) -> None:
    """DNS rebinding: a site whose name was made to resolve to 127.0.0.1."""
    async with site() as (page, storage):
        name = {"Host": host}
        assert (await page.get("start", name))[0] in (400, 421)
        origin = {**JSON, **name, "Origin": f"http://{host}"}
        assert (await page.post("take", SAID, origin))[0] in (400, 421)
        assert stored(storage) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Origin": "http://evil.example"}, 403),
        ({**JSON, "Origin": "http://127.0.0.1"}, 403),
        ({"Content-Type": "text/plain", "Origin": "own"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded", "Origin": "own"}, 415),
    ],
)
async def test_another_site_cannot_label(headers: dict[str, str], status: int) -> None:
    """CSRF, should the address have leaked."""
    async with site() as (page, storage):
        given = {name: page.origin if value == "own" else value for name, value in headers.items()}
        assert (await page.post("take", SAID, given))[0] == status
        assert (await page.get("take", given))[0] == 405
        assert stored(storage) == []


async def test_every_answer_forbids_what_the_page_does_not_need() -> None:
    async with site() as (page, _):
        for path in ("", "start", "nothing"):
            headers = (await page.get(path))[2]
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "connect-src 'self'" in policy
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in headers


async def test_only_this_machine_reaches_it_and_a_taken_port_is_said() -> None:
    async with site() as (page, storage):
        port = urlsplit(page.url).port
        assert port
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=1)
        with seated(storage) as desk, pytest.raises(PortTaken, match=str(port)):
            async with serving(desk, port):
                pass
