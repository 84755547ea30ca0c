import json
import socket
from pathlib import Path
from unittest.mock import MagicMock

import aiohttp
import pytest
from botocore.exceptions import EndpointConnectionError

from pipeline.providers.bedrock import BedrockProvider, MissingAwsCredential, MissingAwsRegion
from pipeline.providers.bedrock_reply import failed, read_converse
from pipeline.providers.loopback import RemoteForbidden
from schemas.ids import CallId
from schemas.money import FREE, Usage
from tests.contract.providers.rigs import bedrock, request
from tests.contract.providers.wire import Server, bedrock_body, says


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("guardrail_intervened", "content_filter"),
        ("refusal", "refusal"),
        ("something_new", "malformed"),
    ],
)
def test_why_it_ended(stop: str, expected: str) -> None:
    assert read_converse(bedrock_body(stop=stop)).finish_reason == expected


def test_token_classes_are_disjoint_and_the_total_is_paid() -> None:
    usage = {"inputTokens": 10, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 30, "outputTokens": 5}
    expected = Usage(input=10, cached_input=60, cache_write=30, output=5)
    assert read_converse(bedrock_body(usage=usage)).usage == expected
    more = read_converse(bedrock_body(usage={**usage, "totalTokens": 115})).usage
    assert more == Usage(input=10, cached_input=60, cache_write=30, output=15)


async def test_what_goes_over_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = await Server().start()
    server.script = says(200, bedrock_body())
    provider = bedrock(server.url, Path())
    reply = await provider.send(provider.encode(request("döcument")), CallId("c"))
    await provider.close()
    await server.stop()
    line, headers, _ = server.requests[0]
    assert line == "POST /model/maker.model-v1%3A0/converse HTTP/1.1"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert server.json() == {
        "system": [{"text": "Answer with one label."}],
        "messages": [{"role": "user", "content": [{"text": "döcument"}]}],
        "inferenceConfig": {"maxTokens": 8, "temperature": 0.0},
    }
    assert "ResponseMetadata" not in json.loads(reply.body)


@pytest.mark.parametrize(
    ("cause", "sent"),
    [
        (aiohttp.ClientOSError(104, "reset by peer"), True),
        (aiohttp.ClientConnectionResetError("cannot write"), True),
        (aiohttp.ClientConnectorError(MagicMock(), OSError(111, "refused")), False),
        (socket.gaierror("no such host"), False),
    ],
)
def test_the_sdk_calls_a_broken_connection_an_unreachable_endpoint(cause: Exception, sent: bool) -> None:
    error = EndpointConnectionError(endpoint_url="http://x", error=cause)
    reply = failed(error, latency_ms=1)
    assert (reply.status, reply.sent, reply.complete) == (0, sent, False)


def test_missing_credentials_and_region_are_said_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("TIERWISE_FORBID_REMOTE", raising=False)
    with pytest.raises(MissingAwsCredential, match="large"):
        BedrockProvider(tier="large", model="m", price=FREE, region="us-east-1").check()
    with pytest.raises(MissingAwsRegion, match="large"):
        BedrockProvider(tier="large", model="m", price=FREE).check()


def test_the_switch_forbids_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERWISE_FORBID_REMOTE", "1")
    with pytest.raises(RemoteForbidden):
        BedrockProvider(tier="large", model="m", price=FREE, region="us-east-1")
