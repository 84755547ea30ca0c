"""Documents on their way out: cut within limits, split without loss, masked without loss."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.task.length import estimated_tokens, fit
from pipeline.task.mask import mask, unmask

KINDS = ("email", "phone", "card", "iban")
scraps = st.sampled_from(
    ["ann@example.org", "bob@example.org", "+49 30 1234567", "5555 5555 5555 4444", "DE89370400440532013000",
     "[EMAIL_1]", "[PHONE_2]", "[CARD_1]", " ", "12", "-", "x"]
)  # fmt: skip


@given(st.text(), st.integers(0, 40), st.sampled_from(["reject", "head", "head_tail", "split_and_vote"]))
def test_no_part_is_over_the_limit_and_none_is_empty(text: str, limit: int, how: str) -> None:
    parts = fit(text, limit, how)

    assert all(estimated_tokens(part) <= limit for part in parts)
    if estimated_tokens(text) <= limit:
        assert parts == [text]
    else:
        assert all(parts)
        assert len(parts) <= 1 or how == "split_and_vote"


@given(st.text(), st.integers(2, 40))
def test_the_parts_of_a_split_are_the_whole(text: str, limit: int) -> None:
    assert "".join(fit(text, limit, "split_and_vote")) == text


@given(st.lists(scraps | st.text(max_size=4)).map("".join), st.lists(st.sampled_from(KINDS), unique=True))
def test_what_is_masked_comes_back(text: str, kinds: list[str]) -> None:
    said, restored = mask(text, kinds)

    assert unmask(said, restored) == text
    assert len(set(restored.values())) == len(restored)
    for name, original in restored.items():
        assert name in said
        assert name not in text
        assert original in text


@given(st.lists(scraps, max_size=8))
def test_addresses_do_not_get_out(words: list[str]) -> None:
    said, _ = mask(" ".join(words), KINDS)

    assert "@example.org" not in said
    assert "DE89370400440532013000" not in said
