"""What every provider does, whatever stands behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ports.provider import Provider
from schemas.ids import CallId
from tests.contract.providers.rigs import ALL, TEXTS, Rig, request
from tests.contract.providers.wire import Server

KEY = CallId("call-1")


@pytest.fixture(params=ALL, ids=lambda rig: rig.name)
async def provider(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> AsyncIterator[Provider]:
    rig: Rig = request.param
    if rig.ok is not None:
        server.script = rig.ok
    provider = rig.make(server.url, tmp_path)
    yield provider
    await provider.close()
    if hasattr(provider, "_door"):
        await provider._door._http.close()


async def test_a_question_is_answered_within_its_bound(provider: Provider) -> None:
    provider.check()
    asked = request()

    reply = await provider.send(provider.encode(asked), KEY)
    completion = provider.read(reply.body)

    assert (reply.status, reply.sent, reply.complete, reply.error) == (200, True, True, "")
    assert completion.text == "sports"
    assert completion.finish_reason == "stop"
    cost = provider.cost(completion)
    assert cost is not None
    assert 0 <= cost <= provider.bound(asked)


async def test_equal_requests_have_equal_bytes_and_others_do_not(provider: Provider) -> None:
    assert provider.encode(request()) == provider.encode(request())
    assert provider.encode(request(TEXTS[0])) != provider.encode(request(TEXTS[1]))


async def test_examples_are_for_language_models(provider: Provider) -> None:
    shown = request(examples=(("another document", "sports"),))
    same = provider.encode(shown) == provider.encode(request())
    assert same == (provider.local or "recorded" in type(provider).__name__.lower())
    assert same or provider.bound(shown) > provider.bound(request())


async def test_local_tiers_bill_nothing_and_others_need_a_hold(provider: Provider) -> None:
    reply = await provider.send(provider.encode(request()), KEY)
    cost = provider.cost(provider.read(reply.body))
    assert cost is not None
    if provider.local:
        assert (provider.bound(request()), cost) == (0, 0)
    else:
        assert cost > 0


async def test_closing_twice_is_harmless(provider: Provider) -> None:
    await provider.send(provider.encode(request()), KEY)
    await provider.close()
    await provider.close()


async def test_a_text_that_no_encoding_carries_is_still_asked(provider: Provider) -> None:
    reply = await provider.send(provider.encode(request("half a pair \ud83d football")), KEY)
    assert reply.status in (200, 404)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=150)
@given(body=st.binary(max_size=200) | st.text().map(str.encode) | st.sampled_from([b"{}", b"[]", b"null"]))
def test_reading_never_raises(provider: Provider, body: bytes) -> None:
    assert provider.read(body).text is not None
