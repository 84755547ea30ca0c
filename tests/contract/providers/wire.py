"""A small server that misbehaves on request, in OpenAI's and in Bedrock's dialect."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body) if length is None else length}"]
    lines += [
        f"{name}: {value}" for name, value in {"Content-Type": "application/json", **(headers or {})}.items()
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(status: int, body: bytes, headers: dict[str, str] | None = None) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(http(status, body, headers))
        await writer.drain()

    return script


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def cuts(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def cuts_midway(writer: asyncio.StreamWriter) -> None:
    writer.write(http(200, b'{"choices":[', length=500))
    await writer.drain()
    writer.close()


async def talks_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
    await writer.drain()
    writer.close()


class Listener:
    """Accepts connections, each served by a task of its own until it ends, breaks, or all is stopped."""

    def __init__(self) -> None:
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Self:
        self._server = await asyncio.start_server(self._accept, host, 0, ssl=tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._run(reader, writer)))

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Server(Listener):
    """Plays `script` for each request, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.script: Script = hangs
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def json(self, index: int = -1) -> Any:
        return json.loads(self.requests[index][2])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((first, headers, body))
            await self.script(writer)


class Wire(Listener):
    """Answers the n-th request with the n-th list of pieces, each in a packet of its own; None closes."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[list[bytes | None]] = []
        self.seen: list[bytes] = []
        self.pause_s = 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.seen.append(head + await reader.readexactly(length))
            for piece in self.pieces.pop(0):
                if piece is None:
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.pause_s)


def openai_body(
    text: str | None = "sports",
    *,
    finish: str | None = "stop",
    usage: dict[str, Any] | None = None,
    message: dict[str, Any] | None = None,
    logprobs: list[float] | None = None,
) -> bytes:
    said = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105} if usage is None else usage
    tokens = None if logprobs is None else {"content": [{"token": "x", "logprob": p} for p in logprobs]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **(message or {})},
        "finish_reason": finish,
        "logprobs": tokens,
    }
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": said}).encode()


def bedrock_body(
    text: str = "sports", *, stop: str = "end_turn", usage: dict[str, int] | None = None
) -> bytes:
    said = {"inputTokens": 100, "outputTokens": 5, "totalTokens": 105} if usage is None else usage
    message = {"role": "assistant", "content": [{"text": text}]}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": said}).encode()


def embeddings_body(embedding: object = (0.6, 0.8), *, usage: dict[str, int] | None = None) -> bytes:
    said = {"prompt_tokens": 7, "total_tokens": 7} if usage is None else usage
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    return json.dumps({"object": "list", "model": "e-1", "data": data, "usage": said}).encode()
