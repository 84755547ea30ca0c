"""The review page on this machine: one reviewer, one job, no one else.

Documents are untrusted text, and any web page the reviewer has open can send requests here. So the address holds a
token, the host must be this machine's own name (DNS rebinding), what changes anything must come from the page itself
(CSRF), and the page may run its own script, load nothing and talk to no one else.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from pipeline.providers.loopback import is_loopback
from pipeline.review.desk import Desk, NoLabel, NotQueued
from schemas.errors import TierwiseError
from schemas.job import AnswerTask, ClassifyTask, ExtractTask, Task

HOST = "127.0.0.1"
LONGEST = 4_000_000  # bytes of a request: a label, or an object that was extracted
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PortTaken(TierwiseError):
    """Port {port} of this machine cannot be used: {why}."""

    exit_code = 2
    fix = "Give another --port; 0 takes a free one."


class _Said(msgspec.Struct, frozen=True):
    query_id: str
    label: str = ""


_read_said = msgspec.json.Decoder(_Said).decode


@asynccontextmanager
async def serving(desk: Desk, port: int) -> AsyncIterator[str]:
    """The page's address, for as long as the block lasts. `port` 0: any that is free. Raises PortTaken."""
    token = secrets.token_urlsafe(24)
    runner = web.AppRunner(review_app(desk, token), access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield f"http://{HOST}:{runner.addresses[0][1]}/{token}/"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as error:
        raise PortTaken(port=port, why=error.strerror or str(error)) from None


def review_app(desk: Desk, token: str) -> web.Application:
    """All of it lies below /TOKEN/."""
    page = (files("pipeline.review") / "page.html").read_text(encoding="utf-8")
    routes = _Routes(desk, page)
    app = web.Application(middlewares=[_guarded(token, _headers(page))], client_max_size=LONGEST)
    app.add_routes(
        [
            web.get("/{token}/", routes.page),
            web.get("/{token}/start", routes.start),
            web.post("/{token}/take", routes.take),
            web.post("/{token}/skip", routes.skip),
            web.post("/{token}/undo", routes.undo),
        ]
    )
    return app


class _Routes:
    def __init__(self, desk: Desk, page: str) -> None:
        self._desk, self._page = desk, page

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", charset="utf-8")

    async def start(self, request: web.Request) -> web.Response:
        desk = self._desk
        about = {"job": desk.job, "reviewer": desk.reviewer, "task": describe_task(desk.task)}
        return _json(about | msgspec.to_builtins(await desk.show()))

    async def take(self, request: web.Request) -> web.Response:
        said = await _body(request)
        return _json(await self._desk.take(said.query_id, said.label))

    async def skip(self, request: web.Request) -> web.Response:
        return _json(await self._desk.skip((await _body(request)).query_id))

    async def undo(self, request: web.Request) -> web.Response:
        return _json(await self._desk.undo())


def describe_task(task: Task) -> dict[str, Any]:
    """What the page needs to offer answers. `labels` None: the answer is written, not chosen."""
    said: dict[str, Any] = {"kind": task.kind, "instructions": task.instructions, "many": False}
    match task:
        case ClassifyTask():
            labels = [{"name": each.name, "description": each.description} for each in task.labels]
            return said | {"many": task.mode == "multi", "labels": labels, "schema": None}
        case ExtractTask():
            return said | {"labels": None, "schema": task.schema_}
        case AnswerTask():
            choices = [{"name": each, "description": ""} for each in task.choices or []]
            return said | {"labels": choices or None, "schema": None}


def _guarded(token: str, headers: dict[str, str]) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refusal(request, token)
        try:
            response = refused or await handler(request)
        except NoLabel as error:
            response = _json({"message": error.fields["why"], "fix": error.fix}, 422)
        except NotQueued as error:
            response = _json({"message": error.message, "fix": error.fix}, 409)
        except TierwiseError as error:
            response = _json({"message": error.message, "fix": error.fix}, 503)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.reason)
        response.headers.update(headers)
        return response

    return guard


def _refusal(request: web.Request, token: str) -> web.Response | None:
    if not is_loopback(_host_name(request.host)):
        return web.Response(status=421, text="This page is served to this machine alone.")
    given = request.path.removeprefix("/").partition("/")[0]
    if not hmac.compare_digest(given.encode(), token.encode()):
        return web.Response(
            status=404, text="Not found. Use the address that `tierwise review serve` printed."
        )
    if request.method not in ("GET", "HEAD"):
        if request.headers.get("Origin") != f"http://{request.host}":
            return web.Response(status=403, text="Only the page itself may send this.")
        if request.content_type != "application/json":
            return web.Response(status=415, text="JSON is expected.")
    return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _headers(page: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; script-src {_hash(page, 'script')}; style-src {_hash(page, 'style')}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _hash(page: str, tag: str) -> str:
    """Of the one inline block of that tag: no other runs."""
    (block,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'"


async def _body(request: web.Request) -> _Said:
    try:
        return _read_said(await request.read())
    except msgspec.MsgspecError:
        raise web.HTTPBadRequest from None


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")
