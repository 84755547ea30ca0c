"""Personal data out before anything is sent, and back in the result."""

import pytest

from pipeline.task.mask import mask, unmask

ALL = ("email", "phone", "card", "iban")


@pytest.mark.parametrize(
    ("text", "kinds", "masked"),
    [
        ("write to ann@example.org now", ["email"], "write to [EMAIL_1] now"),
        ("a@b.de, c@d.de, a@b.de", ["email"], "[EMAIL_1], [EMAIL_2], [EMAIL_1]"),
        ("pay 5555 5555 5555 4444", ALL, "pay [CARD_1]"),
        ("pay 5555-5555-5555-4444", ALL, "pay [CARD_1]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", ALL, "IBAN [IBAN_1]."),
        ("IBAN GB82WEST12345698765432", ALL, "IBAN [IBAN_1]"),
        ("call +49 30 1234567", ALL, "call [PHONE_1]"),
        ("call (555) 123-4567", ALL, "call ([PHONE_1]"),
        ("order 12345", ALL, "order 12345"),
        ("ann@example.org", ["phone"], "ann@example.org"),
        ("", ALL, ""),
    ],
)
def test_what_is_masked(text: str, kinds: list[str], masked: str) -> None:
    said, restored = mask(text, kinds)

    assert said == masked
    assert unmask(said, restored) == text


def test_a_placeholder_that_the_text_holds_already_is_not_given_again() -> None:
    text = "[EMAIL_1] is not ann@example.org"

    said, restored = mask(text, ["email"])

    assert said == "[EMAIL_1] is not [EMAIL_2]"
    assert unmask(said, restored) == text


def test_ten_of_a_kind_are_told_apart() -> None:
    text = " ".join(f"user{number}@example.org" for number in range(12))

    said, restored = mask(text, ["email"])

    assert "example" not in said
    assert unmask(said, restored) == text


def test_answers_of_every_shape_are_restored() -> None:
    restored = {"[EMAIL_1]": "a@b.de"}

    assert unmask("x [EMAIL_1]", restored) == "x a@b.de"
    assert unmask(["[EMAIL_1]", "y"], restored) == ["a@b.de", "y"]
    assert unmask({"to": ["[EMAIL_1]"], "n": 1}, restored) == {"to": ["a@b.de"], "n": 1}
    assert unmask(None, restored) is None
