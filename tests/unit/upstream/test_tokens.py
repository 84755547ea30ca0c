"""The token rule."""

import pytest

from tests.upstream.tokens import byte_length, cut_text, prompt_tokens, prompt_tokens_recorded, text_tokens


@pytest.mark.parametrize(("text", "size"), [("", 0), ("abcd", 4), ("né", 3), ("\ud800", 3)])
def test_bytes_are_utf8(text: str, size: int) -> None:
    assert byte_length(text) == size


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("ééé", 2)])
def test_a_text_is_a_quarter_of_its_bytes(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


@pytest.mark.parametrize(("size", "messages", "tokens"), [(400, 2, 106), (4, 2, 4), (0, 1, 0), (41, 1, 14)])
def test_a_prompt_adds_three_per_message_within_its_bytes(size: int, messages: int, tokens: int) -> None:
    assert prompt_tokens(size, messages) == tokens


def test_recorded_tokens_stand_for_the_document_and_the_rule_for_the_rest() -> None:
    document = "x" * 100

    assert prompt_tokens_recorded(30, document, 100, 1) == 30
    assert prompt_tokens_recorded(30, document, 140, 2) == 30 + 10 + 3
    assert prompt_tokens_recorded(500, document, 100, 1) == 100


def test_a_cut_text_holds_its_tokens_and_whole_characters() -> None:
    assert cut_text("abcdefgh", 1, 2) == "abcd"
    assert cut_text("ééé", 1, 2) == "éé"
    assert cut_text("€€", 1, 2) == "€"
    assert cut_text("abcdefgh", 1, 8) == "a"
