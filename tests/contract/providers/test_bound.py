"""No reply that a provider can honestly send costs more than was held for it."""

import json
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Request
from tests.contract.providers.rigs import bedrock, openai, request
from tests.contract.providers.wire import bedrock_body, openai_body

OPENAI = openai("http://127.0.0.1:1", Path())
BEDROCK = bedrock("http://127.0.0.1:1", Path())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SHARE = st.floats(0, 1)
EXAMPLES = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)


def most_tokens(text: str) -> int:
    """A byte-level tokenizer that never merges, over whichever normal form is longest."""
    return max(len(unicodedata.normalize(form, text).encode()) for form in ("NFC", "NFKC"))


def everything(asked: Request) -> int:
    schema = (
        "" if asked.schema is None else json.dumps(asked.schema, ensure_ascii=False, separators=(",", ":"))
    )
    shown = [text for example in asked.examples for text in example]
    return sum(map(most_tokens, (asked.system, asked.user, schema, *shown))) + 8 * len(shown)


@settings(deadline=None, max_examples=300)
@given(
    system=TEXT, user=TEXT, field=TEXT, most=st.integers(1, 500), cached=SHARE, written=SHARE, thought=SHARE,
    examples=EXAMPLES,
)  # fmt: skip
def test_openai(
    system: str, user: str, field: str, most: int, cached: float, written: float, thought: float,
    examples: tuple[tuple[str, str], ...],
) -> None:  # fmt: skip
    schema = {"type": "object", "properties": {field: {"type": "string"}}}
    asked = request(user, system=system, schema=schema, max_output_tokens=most, examples=examples)
    prompt = everything(asked) + 64
    read = int(prompt * cached)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": most,
        "total_tokens": prompt + most,
        "prompt_tokens_details": {
            "cached_tokens": read,
            "cache_write_tokens": int((prompt - read) * written),
        },
        "completion_tokens_details": {"reasoning_tokens": int(most * thought)},
    }

    completion = OPENAI.read(openai_body(usage=usage))

    assert completion.usage is not None
    billed = completion.usage
    assert billed.input + billed.cached_input + billed.cache_write == prompt
    assert billed.output + billed.reasoning == most
    assert (OPENAI.cost(completion) or 0) <= OPENAI.bound(asked)


@settings(deadline=None, max_examples=200)
@given(system=TEXT, user=TEXT, most=st.integers(1, 500), cached=SHARE, written=SHARE, examples=EXAMPLES)
def test_bedrock(
    system: str, user: str, most: int, cached: float, written: float, examples: tuple[tuple[str, str], ...]
) -> None:
    asked = request(user, system=system, max_output_tokens=most, examples=examples)
    prompt = everything(asked) + 64
    read = int(prompt * cached)
    kept = int((prompt - read) * written)
    usage = {
        "inputTokens": prompt - read - kept,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": kept,
        "outputTokens": most,
        "totalTokens": prompt + most,
    }

    completion = BEDROCK.read(bedrock_body(usage=usage))

    assert (BEDROCK.cost(completion) or 0) <= BEDROCK.bound(asked)


@settings(deadline=None, max_examples=100)
@given(system=TEXT, user=st.text(max_size=60))
def test_what_is_sent_is_what_was_asked(system: str, user: str) -> None:
    body = json.loads(OPENAI.encode(request(user, system=system)))
    whole = user.encode("utf-8", "replace").decode()
    assert body["messages"][-1] == {"role": "user", "content": whole}
    assert body["messages"][:-1] == ([{"role": "system", "content": system}] if system else [])


def test_examples_stand_before_the_document_as_turns_of_a_talk() -> None:
    asked = request("doc", system="s", examples=(("one", "a"), ("two", "b")))
    said = [(each["role"], each["content"]) for each in json.loads(OPENAI.encode(asked))["messages"]]
    assert said[1:] == [
        ("user", "one"),
        ("assistant", "a"),
        ("user", "two"),
        ("assistant", "b"),
        ("user", "doc"),
    ]
    said = [
        (each["role"], each["content"][0]["text"]) for each in json.loads(BEDROCK.encode(asked))["messages"]
    ]
    assert said == [("user", "one"), ("assistant", "a"), ("user", "two"), ("assistant", "b"), ("user", "doc")]
