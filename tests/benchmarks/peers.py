"""The clients that Tierwise is measured beside: each asks the same upstream for the same documents, and only that.

An SDK's first call, which imports and builds what the others use, is not measured.
"""

import asyncio
import csv
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

LABELS = ["billing", "refund", "shipping", "account_access", "technical_issue", "other"]
MODEL = "bench"
SYSTEM = "Sort the message. " + " ".join(LABELS) * 20
Measured = Callable[[], Awaitable[int]]  # runs the calls; returns how many answers it got


def documents(count: int) -> list[str]:
    """The support messages over and over, each made unique: some match a rule of the taxonomy, some none."""
    with open("jobs/examples/support/messages.csv", encoding="utf-8", newline="") as file:
        messages = [row["text"] for row in csv.DictReader(file)]
    return [f"{messages[number % len(messages)]} (message {number})" for number in range(count)]


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


async def _all(
    ask: Callable[[list[dict[str, str]]], Awaitable[Any]], texts: Iterator[str], in_flight: int
) -> int:
    """As many workers as calls in flight; the number of answers that are not empty."""

    async def worker() -> int:
        return sum([bool(await ask(_messages(text))) for text in texts])

    return sum(await asyncio.gather(*(worker() for _ in range(in_flight))))


async def _warmed(
    ask: Callable[[list[dict[str, str]]], Awaitable[Any]], in_flight: int, calls: int
) -> Measured:
    await ask(_messages("warm"))

    async def run() -> int:
        return await _all(ask, iter(documents(calls)), in_flight)

    return run


async def bare_aiohttp(url: str, in_flight: int, calls: int) -> Measured:
    """Bodies built and replies read as JSON, over one session; nothing else."""
    import aiohttp
    import msgspec

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )
    headers = {"Content-Type": "application/json"}
    target = f"{url}/chat/completions"

    async def ask(messages: list[dict[str, str]]) -> str:
        body = msgspec.json.encode({"model": MODEL, "messages": messages, "max_completion_tokens": 40})
        async with session.post(target, data=body, headers=headers) as response:
            reply = msgspec.json.decode(await response.read())
            return str(reply["choices"][0]["message"]["content"])

    async def run() -> int:
        done = await _all(ask, iter(documents(calls)), in_flight)
        await session.close()
        return done

    return run


async def openai_sdk(url: str, in_flight: int, calls: int) -> Measured:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def ask(messages: Any) -> str | None:
        reply = await client.chat.completions.create(model=MODEL, messages=messages, max_completion_tokens=40)
        return reply.choices[0].message.content

    return await _warmed(ask, in_flight, calls)


async def litellm_acompletion(url: str, in_flight: int, calls: int) -> Measured:
    peer = _litellm()

    async def ask(messages: Any) -> str | None:
        reply = await peer.acompletion(
            model=f"openai/{MODEL}", api_base=url, api_key="none", messages=messages, max_completion_tokens=40,
            num_retries=0,
        )  # fmt: skip
        return str(reply.choices[0].message.content)

    return await _warmed(ask, in_flight, calls)


async def litellm_router(url: str, in_flight: int, calls: int) -> Measured:
    peer = _litellm()
    params = {"model": f"openai/{MODEL}", "api_base": url, "api_key": "none"}
    router = peer.Router(model_list=[{"model_name": MODEL, "litellm_params": params}], num_retries=0)

    async def ask(messages: Any) -> str | None:
        reply = await router.acompletion(model=MODEL, messages=messages, max_completion_tokens=40)
        return str(reply.choices[0].message.content)

    return await _warmed(ask, in_flight, calls)


def _litellm() -> Any:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


PEERS = {
    "aiohttp": bare_aiohttp,
    "litellm": litellm_acompletion,
    "litellm_router": litellm_router,
    "openai": openai_sdk,
}
