"""Which names stand for the same model."""

import pytest

from pipeline.reconcile.names import match, words


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"),
        ("claude-opus-4", "claude-opus-4-20250514"),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "Claude3Haiku"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude3.5Sonnetv2"),
        ("anthropic.claude-sonnet-4-6-20260501-v1:0", "Claude4.6Sonnet"),
        ("anthropic.claude-sonnet-4-6-20260501-v1:0", "Claude Sonnet 4.6"),
        ("amazon.nova-lite-v1:0", "NovaLite"),
        ("meta.llama3-1-70b-instruct-v1:0", "Llama3-1-70B"),
        ("openai.gpt-oss-120b-1:0", "openai.gpt-oss-120b"),
    ],
)
def test_the_same_model_under_two_names(ours: str, theirs: str) -> None:
    assert words(ours) == words(theirs)
    (found,) = match([ours], [theirs, "another-model"], {})
    assert found.theirs == theirs
    assert found.why


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("gpt-4.1", "gpt-4.1-nano-2025-04-14"),
        ("gpt-4o", "gpt-4"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "Claude3.5Sonnetv2"),
        ("gpt-4o", "gpt-4o (batch)"),
    ],
)
def test_other_models(ours: str, theirs: str) -> None:
    assert match([ours], [theirs], {})[0].theirs is None


def test_an_equal_name_and_what_the_operator_says_go_first() -> None:
    theirs = ["gpt-4o", "gpt-4o-2024-08-06"]
    assert match(["gpt-4o"], theirs, {})[0].theirs == "gpt-4o"
    assert match(["gpt-4o"], theirs, {"gpt-4o": "gpt-4o-2024-08-06"})[0].theirs == "gpt-4o-2024-08-06"


def test_two_that_may_be_meant_are_named_and_neither_is_taken() -> None:
    (found,) = match(["gpt-4o"], ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"], {})
    assert found.theirs is None
    assert "gpt-4o-2024-05-13 and gpt-4o-2024-08-06 may both be it: --model gpt-4o=NAME" in found.why
