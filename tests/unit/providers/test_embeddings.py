"""Embeddings on the wire: what is sent, what a reply is worth, what it may cost."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.embeddings import OVERHEAD, OpenAIEmbeddings
from pipeline.providers.http import HttpClient
from schemas.errors import MissingCredential
from schemas.ids import QueryId
from schemas.money import Usage, price_of
from schemas.records import Request
from tests.contract.providers.wire import embeddings_body

ONE = price_of(input=Decimal("0.001"), output=Decimal(0))  # a nano-dollar a token


def provider(**options: Any) -> OpenAIEmbeddings:
    settings: dict[str, Any] = {
        "tier": "encoder", "model": "e-1", "base_url": "http://127.0.0.1:1/v1", "api_key_env": None,
        "price": ONE, "http": HttpClient(), "dimensions": 4,
    }  # fmt: skip
    return OpenAIEmbeddings(**{**settings, **options})


def request(text: str) -> Request:
    return Request(system="never sent", user=text, max_output_tokens=0, query_id=QueryId("q"))


def vector(body: bytes, **options: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(provider(**options).read(body).vector, dtype=np.float32)


def test_the_body_names_model_text_and_length() -> None:
    assert json.loads(provider().encode(request("text"))) == {
        "model": "e-1",
        "input": "text",
        "dimensions": 4,
        "encoding_format": "float",
    }
    assert "dimensions" not in json.loads(provider(shortened=False).encode(request("text")))


def test_a_vector_has_length_one() -> None:
    np.testing.assert_allclose(vector(embeddings_body([3.0, 0.0, 4.0, 0.0])), [0.6, 0, 0.8, 0], rtol=1e-6)


def test_no_number_is_too_large_or_too_small() -> None:
    for size in (1e308, 1e-308):
        np.testing.assert_allclose(
            vector(embeddings_body([size, size])), [0.5**0.5, 0.5**0.5, 0, 0], rtol=1e-6
        )


def test_a_short_vector_is_filled_up() -> None:
    np.testing.assert_allclose(vector(embeddings_body([3.0, 4.0])), [0.6, 0.8, 0, 0], rtol=1e-6)


def test_a_long_vector_keeps_its_cosines() -> None:
    random = np.random.default_rng(0)
    one = random.standard_normal(1024)
    near, far = one + 0.5 * random.standard_normal(1024), random.standard_normal(1024)
    short = [vector(embeddings_body(each.tolist()), dimensions=256) for each in (one, near, far)]
    assert [each.shape for each in short] == [(256,)] * 3
    assert short[0] @ short[1] == pytest.approx(
        one @ near / np.linalg.norm(one) / np.linalg.norm(near), abs=0.1
    )
    assert abs(short[0] @ short[2]) < 0.2


@pytest.mark.parametrize(
    "embedding", [[], [0.0, 0.0], ["a"], [10**400], None, "AACAPw=="], ids=str
)  # the last is base64, which was not asked for
def test_a_reply_without_a_vector_is_paid_for_all_the_same(embedding: Any) -> None:
    completion = provider().read(embeddings_body(embedding))
    assert (completion.vector, completion.finish_reason) == (b"", "malformed")
    assert provider().cost(completion) == 7


def test_a_reply_that_states_no_usage_has_no_cost() -> None:
    completion = provider().read(json.dumps({"data": [{"embedding": [1.0]}]}).encode())
    assert len(completion.vector) == 16
    assert provider().cost(completion) is None


def test_of_two_counts_the_larger_is_billed() -> None:
    body = embeddings_body([1.0], usage={"prompt_tokens": 7, "total_tokens": 9})
    assert provider().read(body).usage == Usage(input=9)


@given(st.text(max_size=60))
def test_the_bound_covers_the_text(text: str) -> None:
    tokens = len(text.encode("utf-8", "replace")) + OVERHEAD
    body = embeddings_body([1.0], usage={"prompt_tokens": tokens, "total_tokens": tokens})
    assert (provider().cost(provider().read(body)) or 0) <= provider().bound(request(text))


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.sampled_from([b"{}", b"[]", b'{"data":[]}']))
def test_reading_never_raises(body: bytes) -> None:
    assert provider().read(body).vector == b""


def test_a_key_that_is_not_there_is_said_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBED_KEY", raising=False)
    with pytest.raises(MissingCredential, match="EMBED_KEY"):
        provider(api_key_env="EMBED_KEY").check()
