import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.openai_reply import disjoint, read_completion
from schemas.money import Usage
from tests.contract.providers.wire import openai_body

COUNT = st.integers(-5, 1000)


def usage_of(**said: Any) -> Usage | None:
    return read_completion(openai_body(usage=said)).usage


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("abort", "malformed"),
        (None, ""),
    ],
)
def test_why_it_ended(finish: str | None, expected: str) -> None:
    assert read_completion(openai_body(finish=finish)).finish_reason == expected


def test_a_refusal_is_no_answer() -> None:
    completion = read_completion(openai_body(None, message={"refusal": "I cannot."}))
    assert (completion.text, completion.finish_reason) == ("", "refusal")
    assert completion.usage is not None


def test_content_in_parts_is_joined_without_the_thinking() -> None:
    parts = [
        {"type": "thinking", "text": "hm"},
        {"type": "text", "text": "spo"},
        {"type": "text", "text": "rts"},
    ]
    assert read_completion(openai_body(message={"content": parts})).text == "sports"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"error":{"message":"x"}}',
        openai_body()[:-20],
        openai_body(None),
        b'{"choices":[]}',
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    assert read_completion(body).finish_reason == "malformed"


def test_usage_survives_a_broken_choice_and_the_answer_a_broken_usage() -> None:
    broken = json.loads(openai_body())
    broken["choices"] = [{"message": 7}]
    assert read_completion(json.dumps(broken).encode()).usage == Usage(input=100, output=5)
    completion = read_completion(openai_body(usage={"prompt_tokens": "many"}))
    assert (completion.text, completion.usage) == ("sports", None)
    assert usage_of() is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 60}}, Usage(input=40, cached_input=60, output=20)),
        ({"prompt_cache_hit_tokens": 60}, Usage(input=40, cached_input=60, output=20)),
        (
            {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}},
            Usage(input=30, cached_input=60, cache_write=10, output=20),
        ),
        ({"cache_creation_input_tokens": 10}, Usage(input=90, cache_write=10, output=20)),
        ({"completion_tokens_details": {"reasoning_tokens": 15}}, Usage(input=100, output=5, reasoning=15)),
        # reasoning beside the completion, as the total shows
        (
            {"completion_tokens_details": {"reasoning_tokens": 15}, "total_tokens": 135},
            Usage(input=100, output=20, reasoning=15),
        ),
        ({"completion_tokens_details": {"reasoning_tokens": 50}}, Usage(input=100, output=20, reasoning=50)),
        # thinking that shows in the total alone
        ({"total_tokens": 200}, Usage(input=100, output=20, reasoning=80)),
        ({"prompt_tokens_details": {"cached_tokens": 300}}, Usage(input=100, cached_input=300, output=20)),
        ({"completion_tokens": -4, "total_tokens": 120}, Usage(input=100, reasoning=20)),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(input=100, output=20)),
    ],
)
def test_dialects_of_usage(said: dict[str, Any], expected: Usage) -> None:
    assert usage_of(**{"prompt_tokens": 100, "completion_tokens": 20, **said}) == expected


@given(prompt=COUNT, completion=COUNT, total=COUNT, cached=COUNT, written=COUNT, reasoning=COUNT)
def test_never_less_than_billed(**said: int) -> None:
    usage = disjoint(**said)
    counts = (usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning)
    assert min(counts) >= 0
    assert sum(counts) >= max(said["total"], said["prompt"] + said["completion"])


def test_confidence_is_the_probability_of_the_text() -> None:
    halves = read_completion(openai_body(logprobs=[math.log(0.5), math.log(0.5)]))
    assert halves.confidence == pytest.approx(0.25)
    assert read_completion(openai_body(logprobs=[-9999.0])).confidence == 0
    assert read_completion(openai_body(logprobs=[1e-9])).confidence == 1
    assert read_completion(openai_body(logprobs=[])).confidence is None
    assert read_completion(openai_body()).confidence is None
