import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.providers.http import HttpClient
from pipeline.providers.loopback import RemoteForbidden
from pipeline.providers.openai import OpenAIProvider, UnboundedField
from pipeline.providers.openai_door import UnusableCredential
from schemas.errors import MissingCredential
from schemas.ids import CallId
from schemas.money import FREE, price_of
from tests.contract.providers.rigs import openai, request
from tests.contract.providers.wire import Server, openai_body, says

ONE = price_of(input=Decimal("0.001"), output=Decimal(0))  # a nano-dollar a token
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}}


def provider(**options: Any) -> OpenAIProvider:
    return openai("http://127.0.0.1:1", Path(), **options)


def body(asked: Any, **options: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(provider(**options).encode(asked))
    return decoded


def test_the_document_is_last_and_the_rest_is_the_same_for_all() -> None:
    one = provider()
    first, second = one.encode(request("first")), one.encode(request("second"))
    assert first.endswith(b'{"role":"user","content":"first"}]}')
    assert first[: -len(b'"first"}]}')] == second[: -len(b'"second"}]}')]


def test_the_body_says_what_was_asked_for() -> None:
    sent = body(request(schema=SCHEMA, logprobs=True, temperature=0.3), logprobs=True)
    assert sent["model"] == "m-1"
    assert sent["max_completion_tokens"] == 8
    assert sent["temperature"] == 0.3
    assert sent["logprobs"] is True
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA


def test_dialects_of_the_endpoint() -> None:
    asked = request(schema=SCHEMA, logprobs=True)
    assert body(asked, structured="json_object")["response_format"] == {"type": "json_object"}
    assert "response_format" not in body(asked, structured="none")
    assert "response_format" not in body(request())
    assert "logprobs" not in body(asked, logprobs=False)
    assert body(asked, max_tokens_field="max_tokens")["max_tokens"] == 8


def test_extra_fields_win_and_none_leaves_a_field_out() -> None:
    sent = body(request(), extra_body={"temperature": None, "reasoning_effort": "low"})
    assert "temperature" not in sent
    assert sent["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    "extra", [{"n": 3}, {"max_tokens": 9}, {"max_completion_tokens": None}, {"stream": True}]
)
def test_extra_fields_that_break_the_bound_are_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(UnboundedField, match="small"):
        provider(extra_body=extra)
    with pytest.raises(UnboundedField):
        provider(extra_body={"service_tier": "priority"})


def test_the_bound_covers_the_schema_and_extra_fields() -> None:
    plain = provider().bound(request())
    assert provider().bound(request(schema=SCHEMA)) > plain
    assert provider(extra_body={"user": "x" * 1000}).bound(request()) > plain + 1000


@pytest.mark.parametrize("part", ["system", "user"])
def test_the_bound_covers_the_texts(part: str) -> None:
    for text, tokens in (("x" * 1000, 1000), ("\ufdfa" * 1000, 33_000)):  # the longest compatibility form
        longer = provider(price=ONE).bound(request(**{part: text}))
        assert longer - provider(price=ONE).bound(request(**{part: ""})) == tokens


def test_two_schemas_are_not_confused() -> None:
    one = provider()
    other = {"type": "object", "properties": {}}
    assert one.encode(request(schema=SCHEMA)) != one.encode(request(schema=other))
    for number in range(200):  # more static parts than are kept
        schema = {"title": str(number)}
        assert f'"title":"{number}"'.encode() in one.encode(request(schema=schema))


def test_a_missing_key_is_said_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(MissingCredential, match="SOME_KEY"):
        provider(api_key_env="SOME_KEY").check()
    monkeypatch.setenv("SOME_KEY", "sk-\nsecret")
    with pytest.raises(UnusableCredential) as raised:
        provider(api_key_env="SOME_KEY").check()
    assert "secret" not in str(raised.value)
    monkeypatch.setenv("SOME_KEY", "sk-1\n")
    provider(api_key_env="SOME_KEY").check()


@pytest.mark.parametrize("host", ["api.openai.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io"])
def test_the_switch_forbids_all_other_machines(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERWISE_FORBID_REMOTE", "1")
    with pytest.raises(RemoteForbidden, match="Nothing was sent"):
        openai(f"https://{host}", Path())
    for here in ("localhost", "127.0.0.1", "[::1]"):
        openai(f"http://{here}:1", Path())


async def test_what_goes_over_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-1")
    server = await Server().start()
    server.script = says(200, openai_body())
    http = HttpClient()
    one = openai(server.url, Path(), http=http, api_key_env="SOME_KEY", extra_headers={"X-Title": "job"})
    for key in ("call-1", "call-2"):
        await one.send(one.encode(request()), CallId(key))
    await http.close()
    await server.stop()
    line, headers, sent = server.requests[0]
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-1"
    assert headers["x-title"] == "job"
    assert sent == one.encode(request())
    assert [headers["idempotency-key"] for _, headers, _ in server.requests] == ["call-1", "call-2"]


async def test_a_document_of_megabytes_goes_through() -> None:
    server = await Server().start()
    server.script = says(200, openai_body())
    http = HttpClient()
    one = openai(server.url, Path(), http=http, price=FREE, timeout_s=10)
    reply = await one.send(one.encode(request("x" * 3_000_000)), CallId("call-1"))
    await http.close()
    await server.stop()
    assert reply.status == 200
    assert len(server.requests[0][2]) > 3_000_000


async def test_redirects_are_not_followed() -> None:
    server = await Server().start()
    server.script = says(307, b"", {"Location": f"{server.url}/elsewhere"})
    http = HttpClient()
    one = openai(server.url, Path(), http=http)
    reply = await one.send(one.encode(request()), CallId("call-1"))
    await http.close()
    await server.stop()
    assert (reply.status, len(server.requests)) == (307, 1)


async def test_a_reply_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.providers.connection.MAX_BODY", 1000)
    server = await Server().start()
    http = HttpClient()
    one = openai(server.url, Path(), http=http)
    replies = []
    for status in (200, 400):
        server.script = says(status, b"x" * 5000)
        replies.append(await one.send(one.encode(request()), CallId("call-1")))
    await http.close()
    await server.stop()
    assert [(reply.status, reply.complete, len(reply.body)) for reply in replies] == [
        (200, False, 1000),
        (400, True, 1000),
    ]
