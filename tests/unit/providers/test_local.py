import asyncio
import json

import numpy as np
import pytest

from pipeline.features.hashing import HashingEncoder
from pipeline.providers.keyword import KeywordTier
from pipeline.providers.local import Guess
from pipeline.providers.ngrams import Ngrams, fit_grams
from pipeline.providers.similarity import SimilarityTier
from pipeline.providers.sklearn import SklearnTier
from schemas.ids import CallId
from schemas.job import Label
from tests.contract.providers.rigs import LABELS, TEXTS, request

KEYWORDS = {
    "city": ["new york", "york minster"],
    "state": ["new york state", "nevada"],
    "code": ["C++", "AT&T"],
    "greek": ["ΣΊΣΥΦΟΣ"],
    "tokyo": ["東京"],
}


def one(tier: KeywordTier | SimilarityTier | SklearnTier, text: str) -> Guess:
    return tier.guess([text])[0]


@pytest.mark.parametrize(
    ("text", "answer", "confidence"),
    [
        ("in NEW  York.", "city", 1.0),
        ("new york state", "state", 1.0),
        ("new yorkers", "", None),
        ("Nevada, nevada and New York", "state", 2 / 3),
        ("new york or nevada", "city", 0.5),
        ("I write c++.", "code", 1.0),
        ("at&t", "code", 1.0),
        ("c", "", None),
        ("ο σίσυφος", "greek", 1.0),
        ("私は東京に住む", "tokyo", 1.0),
        ("", "", None),
    ],
)
def test_keywords(text: str, answer: str, confidence: float | None) -> None:
    guess = one(KeywordTier(keywords=KEYWORDS), text)
    assert guess.answer == answer
    assert guess.confidence == (None if confidence is None else pytest.approx(confidence))


def test_keywords_with_several_labels() -> None:
    tier = KeywordTier(keywords=KEYWORDS, multiple=True)
    assert one(tier, "nevada, c++, nevada") == Guess(["state", "code"])
    assert one(tier, "nothing").answer == ""


def test_a_tier_is_named_by_what_it_was_made_from() -> None:
    assert KeywordTier(keywords=KEYWORDS).model == KeywordTier(keywords=KEYWORDS).model
    assert KeywordTier(keywords=KEYWORDS).model != KeywordTier(keywords={"a": ["b"]}).model
    assert (
        SklearnTier(texts=TEXTS, labels=LABELS).model != SklearnTier(texts=TEXTS, labels=LABELS[::-1]).model
    )


def test_similarity_knows_when_nothing_is_alike() -> None:
    labels = [
        Label(name="sports", examples=TEXTS[::2]),
        Label(name="politics", description="bills and votes"),
    ]
    tier = SimilarityTier(labels=labels, encoder=HashingEncoder())
    assert one(tier, "football goal").answer == "sports"
    assert (one(tier, "football goal").confidence or 0) > 0.8
    assert one(tier, "") == Guess("")


def test_single_rows_equal_scikit_learns() -> None:
    texts = [
        "Hello  World, a b ab abc ÄÖ Straße",
        "tax cut now",
        "tax rise now now",
        "İstanbul ΣΑΣ\u2003x",
        "",
        "?",
    ]
    words, chars, matrix = fit_grams(texts)
    ngrams = Ngrams(words, chars)
    for text, wanted in zip(texts, matrix.toarray(), strict=True):
        features, values = ngrams.row(text)
        row = np.zeros(matrix.shape[1], dtype=np.float32)
        row[features] = values
        np.testing.assert_allclose(row, wanted, atol=1e-6)
    features, values = ngrams.row("new words abc tax Hello")
    assert features.max() < matrix.shape[1]
    assert len(ngrams.row("zzz")[0]) == 0


def test_learned_tier_is_sure_of_what_it_saw() -> None:
    tier = SklearnTier(texts=TEXTS, labels=LABELS)
    assert [guess.answer for guess in tier.guess(TEXTS)] == LABELS
    assert all(0.5 < (guess.confidence or 0) <= 1 for guess in tier.guess(TEXTS))
    assert tier.guess(TEXTS) == SklearnTier(texts=TEXTS, labels=LABELS).guess(TEXTS)


def test_learned_tier_with_several_labels() -> None:
    labels = [["sports"], ["politics", "law"], ["sports"], ["politics", "law"]]
    tier = SklearnTier(texts=TEXTS, labels=labels, multiple=True)
    assert one(tier, TEXTS[1]).answer == ["law", "politics"]


def test_learned_tier_needs_two_labels() -> None:
    with pytest.raises(ValueError, match="two labels"):
        SklearnTier(texts=TEXTS, labels=["a"] * 4)


def test_confidence_is_calibrated_on_held_out_texts() -> None:
    """A quarter of the labels is noise: a tier that believed its training data would be too sure."""
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(400)]
    texts = [" ".join(rng.choice(words, 12)) + (" good" if i % 2 else " bad") for i in range(600)]
    labels = ["yes" if (i % 2) != (rng.random() < 0.25) else "no" for i in range(600)]
    tier = SklearnTier(texts=texts[:400], labels=labels[:400])
    guesses = tier.guess(texts[400:])
    right = np.mean([guess.answer == label for guess, label in zip(guesses, labels[400:], strict=True)])
    said = np.mean([guess.confidence or 0.0 for guess in guesses])
    assert abs(said - right) < 0.1


async def test_answers_computed_ahead_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tier = KeywordTier(keywords=KEYWORDS)
    texts = [f"nevada {number}" for number in range(50)]
    cold = [await tier.send(tier.encode(request(text)), CallId("c")) for text in texts]

    await asyncio.gather(*(asyncio.to_thread(tier.warm, texts[start:]) for start in (0, 10, 20)))
    tier.warm(texts)
    monkeypatch.setattr(tier, "guess", None)  # not asked again
    warm = [await tier.send(tier.encode(request(text)), CallId("c")) for text in texts]

    assert [reply.body for reply in warm] == [reply.body for reply in cold]


def test_answers_computed_ahead_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.providers.local._REMEMBERED", 10)
    tier = KeywordTier(keywords=KEYWORDS)
    tier.warm([str(number) for number in range(100)])
    assert len(tier._ahead) == 10


def test_several_answers_are_a_json_list() -> None:
    tier = KeywordTier(keywords=KEYWORDS, multiple=True)
    completion = tier.read(b'{"answer":["a","\xc3\xa4"],"confidence":null}')
    assert json.loads(completion.text) == ["a", "ä"]
