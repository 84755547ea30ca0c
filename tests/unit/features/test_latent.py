import numpy as np

from pipeline.features.latent import LatentEncoder

RIVER = ["the river runs to the sea", "a river meets the sea", "the sea takes the river", "river and sea"]
MONEY = ["the bank lends money", "money from a bank", "a bank with money", "bank money is lent"]


def test_texts_of_one_subject_are_nearer_than_texts_of_two() -> None:
    encoder = LatentEncoder(RIVER + MONEY, dimensions=2)
    one, same, other = encoder.encode(["sea river", "river sea", "money bank"])
    assert one @ same > 0.9 * (one @ one)
    assert abs(one @ other) < 0.3 * (one @ one)


def test_a_prompt_that_every_text_begins_with_weighs_nothing() -> None:
    with_prompt = LatentEncoder([f"Answer this: {text}" for text in RIVER + MONEY], dimensions=2)
    assert np.allclose(with_prompt.encode(["Answer this:"]), 0, atol=1e-6)


def test_what_was_never_seen_and_what_has_no_words_are_encoded_too() -> None:
    encoded = LatentEncoder(RIVER, dimensions=32).encode(["", "zebra"])
    assert encoded.shape == (2, 3)  # no more dimensions than texts less one
    assert np.isfinite(encoded).all()
