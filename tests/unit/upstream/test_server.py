"""The server as a client sees it."""

import asyncio
import math
from typing import Any

import aiohttp
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.upstream.chat import GARBAGE
from tests.upstream.client import Upstream, UpstreamError
from tests.upstream.config import ConfigError, UpstreamConfig, config_from
from tests.upstream.fixture import StartUpstream

PRICES = {"small": {"input": "0.15", "output": "0.6"}, "large": {"input": "5", "output": "15"}}
TEXT = "[gold=alpha] A document about something."


def rule(**options: Any) -> UpstreamConfig:
    """A priced rule that is always right."""
    base: dict[str, Any] = {
        "rule": "echo-label",
        "labels": ("alpha", "beta"),
        "accuracy": {"small": 1.0, "large": 1.0},
        "prices": PRICES,
    }
    return config_from(base | options)


def chat(text: str = TEXT, *, model: str = "small", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def ask(upstream: Upstream, body: Any, *, key: str = "k", path: str = "chat/completions") -> Any:
    """The status and JSON of one request."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/{path}", json=body, headers={"Idempotency-Key": key}) as reply,
    ):
        return reply.status, await reply.json()


async def test_an_answer_is_priced_by_the_written_rule(upstreams: StartUpstream) -> None:
    # Given a server whose rule is always right
    upstream = upstreams(rule())

    # When a document is asked about
    status, reply = await ask(upstream, chat(), key="call-1")

    # Then the answer, the usage and the meter agree
    size = len(TEXT)
    given, said = math.ceil(size / 4) + 3, 2
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == "alpha"
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (given, said)
    (line,) = upstream.meter_lines()
    assert (line.key, line.model, line.input, line.output) == ("call-1", "small", given, said)
    assert line.nano == upstream.meter_total_nano() == 150 * given + 600 * said


async def test_a_reply_is_never_seen_before_its_meter_line(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    async def one(session: aiohttp.ClientSession, key: str) -> None:
        headers = {"Idempotency-Key": key}
        async with session.post(f"{upstream.url}/chat/completions", json=chat(), headers=headers):
            # The head is here, the body may not be: the line must be.
            assert key in {line.key for line in upstream.meter_lines()}

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session, f"key-{number}") for number in range(200)))


async def test_the_same_key_is_billed_twice(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    for _ in range(2):
        await ask(upstream, chat(), key="again")

    assert [line.key for line in upstream.meter_lines()] == ["again", "again"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat(model="huge"), 404, "model_not_found"),
        (chat(stream=True), 400, None),
        (chat(n=2), 400, None),
        (chat(max_tokens=0), 400, None),
        ({"model": "small", "messages": []}, 400, None),
        ({"model": "small"}, 400, None),
        ([], 400, None),
    ],
)
async def test_a_bad_request_is_refused_and_not_metered(
    upstreams: StartUpstream, body: Any, status: int, code: str | None
) -> None:
    upstream = upstreams(rule())

    got, reply = await ask(upstream, body)

    assert (got, reply["error"]["code"]) == (status, code)
    assert upstream.meter_lines() == []


async def test_a_429_says_when_to_retry_and_costs_nothing(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(script=("rate_limited",), retry_after_s=2.5))

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/chat/completions", json=chat()) as reply,
    ):
        assert reply.status == 429
        assert (reply.headers["Retry-After"], reply.headers["retry-after-ms"]) == ("3", "2500")
    assert upstream.meter_lines() == []


@pytest.mark.parametrize("billed", [False, True])
async def test_a_500_is_metered_only_on_demand(upstreams: StartUpstream, billed: bool) -> None:
    upstream = upstreams(rule(script=("server_error",), bill_500=billed))

    status, reply = await ask(upstream, chat())

    assert (status, reply["error"]["type"]) == (500, "server_error")
    assert [line.outcome for line in upstream.meter_lines()] == ["server_error"] * billed


@pytest.mark.parametrize(("kind", "metered"), [("cut_before", 0), ("cut_after", 1)])
async def test_a_cut_connection_is_metered_once_it_was_read(
    upstreams: StartUpstream, kind: str, metered: int
) -> None:
    upstream = upstreams(rule(shares={kind: 1.0}))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(f"{upstream.url}/chat/completions", json=chat())

    # aiohttp repeats no POST, so each is seen once
    assert [line.outcome for line in upstream.meter_lines()] == [kind] * metered


async def test_a_hang_is_metered_and_never_answered(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(script=("hang",)))

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as session:
        with pytest.raises(asyncio.TimeoutError):
            await session.post(f"{upstream.url}/chat/completions", json=chat())

    assert [line.outcome for line in upstream.meter_lines()] == ["hang"]
    assert upstream.stats().answered == 0


async def test_a_cut_body_is_shorter_than_announced(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(script=("cut_body",)))

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/chat/completions", json=chat()) as reply,
    ):
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()
    assert [line.outcome for line in upstream.meter_lines()] == ["cut_body"]


async def test_malformed_json_arrives_whole_and_does_not_parse(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(script=("malformed_json",)))

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/chat/completions", json=chat()) as reply,
    ):
        body = await reply.read()
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)
    assert [line.outcome for line in upstream.meter_lines()] == ["malformed_json"]


@pytest.mark.parametrize(
    ("kind", "content", "refused", "reason"),
    [
        ("malformed_content", GARBAGE, False, "stop"),
        ("truncated", "al", False, "length"),
        ("content_filter", "", False, "content_filter"),
        ("refusal", None, True, "stop"),
    ],
)
async def test_spoilt_content_is_well_formed_and_metered(
    upstreams: StartUpstream, kind: str, content: str | None, refused: bool, reason: str
) -> None:
    upstream = upstreams(rule(script=(kind,)))

    status, reply = await ask(upstream, chat())

    choice = reply["choices"][0]
    assert (status, choice["message"]["content"], choice["finish_reason"]) == (200, content, reason)
    assert (choice["message"]["refusal"] is not None) == refused
    (line,) = upstream.meter_lines()
    assert (line.outcome, line.output) == (kind, reply["usage"]["completion_tokens"])


async def test_output_is_cut_at_the_limit(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    _, reply = await ask(upstream, chat(max_completion_tokens=1))

    choice = reply["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("alph", "length")
    assert reply["usage"]["completion_tokens"] == 1


async def test_an_overbill_exceeds_the_limit(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(script=("overbill",), overbill_tokens=50))

    _, reply = await ask(upstream, chat(max_tokens=10))

    assert reply["choices"][0]["message"]["content"] == "alpha"
    assert reply["usage"]["completion_tokens"] == upstream.meter_lines()[0].output == 60


async def test_reasoning_is_within_the_completion_and_priced_apart(upstreams: StartUpstream) -> None:
    prices = {"small": PRICES["small"] | {"reasoning": "1"}, "large": PRICES["large"]}
    upstream = upstreams(rule(reasoning_tokens={"small": 100}, prices=prices))

    _, reply = await ask(upstream, chat())
    _, short = await ask(upstream, chat(max_completion_tokens=40))

    assert reply["usage"]["completion_tokens"] == 102
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 100
    assert (short["choices"][0]["message"]["content"], short["usage"]["completion_tokens"]) == ("", 40)
    line = upstream.meter_lines()[0]
    assert line.nano == 150 * line.input + 600 * 2 + 1000 * 100


async def test_a_known_system_message_is_cached(upstreams: StartUpstream) -> None:
    prices = {"small": PRICES["small"] | {"cached_input": "0.075"}, "large": PRICES["large"]}
    upstream = upstreams(rule(cached_prefix_tokens=10, prices=prices))
    body = chat()
    body["messages"].insert(0, {"role": "system", "content": "Answer with one label. " * 4})

    replies = [(await ask(upstream, body))[1] for _ in range(2)]

    cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in replies]
    first, second = upstream.meter_lines()
    assert cached == [first.cached_input, second.cached_input] == [0, 10]
    assert first.nano - second.nano == 10 * 75


async def test_cache_writes_are_counted_where_they_are_priced(upstreams: StartUpstream) -> None:
    prices = {"small": PRICES["small"] | {"cache_write": "0.3"}, "large": PRICES["large"]}
    upstream = upstreams(rule(cached_prefix_tokens=10, prices=prices))
    body = chat()
    body["messages"].insert(0, {"role": "system", "content": "Answer with one label. " * 4})

    _, reply = await ask(upstream, body)

    assert reply["usage"]["prompt_tokens_details"]["cache_write_tokens"] == 10
    assert upstream.meter_lines()[0].cache_write == 10


SCHEMA_OF_LABEL = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
SCHEMA_OF_LIST = {"type": "object", "properties": {"labels": {"type": "array", "items": {"type": "string"}}}}
SCHEMA_OF_TWO = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        (SCHEMA_OF_LABEL, '{"label":"alpha"}'),
        (SCHEMA_OF_LIST, '{"labels":["alpha"]}'),
        (SCHEMA_OF_TWO, "alpha"),
    ],
)
async def test_structured_output_follows_the_schema(
    upstreams: StartUpstream, schema: dict[str, Any], content: str
) -> None:
    upstream = upstreams(rule())
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}

    _, reply = await ask(upstream, chat(response_format=wanted))

    assert reply["choices"][0]["message"]["content"] == content


async def test_logprobs_carry_the_confidence_on_the_answers_first_token(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA_OF_LABEL}}

    _, plain = await ask(upstream, chat(logprobs=True, top_logprobs=1))
    _, wrapped = await ask(upstream, chat(logprobs=True, response_format=wanted))

    tokens = plain["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == "alpha"
    assert len(tokens) == plain["usage"]["completion_tokens"]
    assert 0.6 <= math.exp(tokens[0]["logprob"]) < 1
    assert tokens[1]["logprob"] == pytest.approx(0, abs=1e-3)
    assert tokens[0]["top_logprobs"][0]["token"] == "alph"
    inner = wrapped["choices"][0]["logprobs"]["content"]
    assert min(inner, key=lambda token: token["logprob"])["token"].endswith("al")
    assert sum(token["logprob"] for token in inner) == pytest.approx(tokens[0]["logprob"], abs=1e-3)


async def test_embeddings_are_vectors_and_paid_for(upstreams: StartUpstream) -> None:
    prices = PRICES | {"embed": {"input": "0.02", "output": "0"}}
    upstream = upstreams(rule(embedding_models=("embed",), prices=prices))

    status, reply = await ask(
        upstream, {"model": "embed", "input": ["abcd", "efgh"], "dimensions": 8}, path="embeddings"
    )

    assert (status, [len(item["embedding"]) for item in reply["data"]]) == (200, [8, 8])
    (line,) = upstream.meter_lines()
    assert (line.endpoint, line.input, line.nano) == ("embeddings", 2, 40)


async def test_models_are_listed(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    async with aiohttp.ClientSession() as session, session.get(f"{upstream.url}/models") as reply:
        assert [model["id"] for model in (await reply.json())["data"]] == ["large", "small"]


async def test_a_key_is_required_where_one_is_set(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(api_key="secret"))

    statuses = []
    for word in ("wrong", "secret"):
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {word}"}) as session,
            session.post(f"{upstream.url}/chat/completions", json=chat()) as reply,
        ):
            statuses.append(reply.status)

    assert statuses == [401, 200]
    assert len(upstream.meter_lines()) == 1


async def test_latency_is_kept_while_many_are_in_flight(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(latency_ms=200))
    loop = asyncio.get_running_loop()
    started = loop.time()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> int:
            async with session.post(f"{upstream.url}/chat/completions", json=chat()) as reply:
                return reply.status

        statuses = await asyncio.gather(*(one() for _ in range(100)))

    assert statuses == [200] * 100
    assert 0.2 <= loop.time() - started < 5
    assert upstream.stats().max_in_flight > 1


async def test_a_hard_limit_answers_429_beyond_its_burst(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule(rate_limit_rps=0.01, burst=2))

    statuses = [(await ask(upstream, chat()))[0] for _ in range(3)]

    assert statuses == [200, 200, 429]
    assert len(upstream.meter_lines()) == 2


async def test_control_changes_a_running_server(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    upstream.control(script=["server_error"], error_status=503)
    broken, _ = await ask(upstream, chat())
    sound, _ = await ask(upstream, chat())

    assert (broken, sound) == (503, 200)
    stats = upstream.stats()
    assert (stats.served, stats.answered, stats.in_flight, stats.metered) == (2, 2, 0, 1)
    assert stats.by_status == {"200": 1, "503": 1}
    assert stats.metered_nano == upstream.meter_total_nano()


@pytest.mark.parametrize("change", [{"shares": {"hang": 2.0}}, {"latncy_ms": 1}, {"error_status": 404}])
def test_a_bad_control_is_refused(upstreams: StartUpstream, change: dict[str, Any]) -> None:
    upstream = upstreams(rule())

    with pytest.raises(UpstreamError):
        upstream.control(**change)


async def test_a_server_that_is_down_refuses_connections_until_it_is_up(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())

    upstream.control(down=True)
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(upstream, chat())
    upstream.control(down=False)

    assert (await ask(upstream, chat()))[0] == 200


async def test_a_killed_server_keeps_its_meter_over_a_restart(upstreams: StartUpstream) -> None:
    upstream = upstreams(rule())
    await ask(upstream, chat(), key="one")

    upstream.kill()
    with upstream.restart() as again:
        assert again.url == upstream.url
        await ask(again, chat(), key="two")

    assert [(line.seq, line.key) for line in again.meter_lines()] == [(1, "one"), (2, "two")]


async def test_outcomes_are_answered_as_recorded(upstreams: StartUpstream, tmp_path: Any) -> None:
    path = tmp_path / "outcomes.parquet"
    columns = {"dataset": ["d"], "text": [TEXT], "model": ["small"], "response": ["recorded answer"]}
    pq.write_table(pa.table(columns | {"input_tokens": [9], "output_tokens": [5]}), path)
    upstream = upstreams(config_from({"outcomes": str(path), "prices": PRICES}))

    _, known = await ask(upstream, chat())
    status, unknown = await ask(upstream, chat("never seen"))

    assert known["choices"][0]["message"]["content"] == "recorded answer"
    assert (known["usage"]["prompt_tokens"], known["usage"]["completion_tokens"]) == (9, 5)
    assert (status, unknown["error"]["code"]) == (400, "unknown_text")


async def test_a_fixed_reply_needs_no_json_where_nothing_is_metered(upstreams: StartUpstream) -> None:
    upstream = upstreams(config_from({"fixed_reply": "yes", "no_meter": True}))

    status, reply = await ask(upstream, "not a request")

    assert (status, reply["choices"][0]["message"]["content"]) == (200, "yes")


async def test_a_metered_fixed_reply_is_priced_by_model(upstreams: StartUpstream) -> None:
    upstream = upstreams(config_from({"fixed_reply": "yes", "prices": PRICES}))

    await ask(upstream, chat(model="large"))

    assert upstream.meter_total_nano() == 16 * 5000 + 15000


def test_a_server_without_prices_refuses_to_start(upstreams: StartUpstream) -> None:
    with pytest.raises(UpstreamError, match="no price for 2 of 2 models"):
        upstreams(rule(prices=None))


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ("a",)},
        {"rate_limit_rps": 0},
        {"no_meter": True, "meter": "m"},
        {"fixed_reply": "x"},
        {"lables": ()},
    ],
)
def test_a_bad_config_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        rule(**options)
