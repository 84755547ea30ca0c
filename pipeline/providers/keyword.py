"""A tier that answers by keywords, and says nothing where none occurs."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from pipeline.providers.local import Guess, LocalTier

# Words, or single signs, so that "C++" and "AT&T" are found; Chinese and Japanese, written without spaces,
# go character by character.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")

_Phrases = dict[str, list[tuple[list[str], list[str]]]]  # first token -> (phrase, its labels), longest first


class KeywordTier(LocalTier):
    """Whole words, any case; where phrases overlap the longest wins; the label with most hits is the answer.

    Confidence is that label's share of all hits. With `multiple` every label that was hit is an answer,
    without a confidence. Equal hits: the label written first.
    """

    def __init__(self, *, keywords: Mapping[str, Sequence[str]], multiple: bool = False) -> None:
        written = msgspec.json.encode([multiple, list(keywords.items())])
        super().__init__(model=f"keyword-1:{blake2b(written, digest_size=6).hexdigest()}")
        self._multiple = multiple
        self._order = {label: position for position, label in enumerate(keywords)}
        self._phrases = _index(keywords)

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        return [self._guess(text) for text in texts]

    def _guess(self, text: str) -> Guess:
        hits = self._hits(_tokens(text))
        if not hits:
            return Guess("", None)
        ranked = sorted(hits, key=lambda label: (-hits[label], self._order[label]))
        if self._multiple:
            return Guess(ranked)
        return Guess(ranked[0], hits[ranked[0]] / hits.total())

    def _hits(self, tokens: list[str]) -> Counter[str]:
        hits: Counter[str] = Counter()
        position = 0
        while position < len(tokens):
            step = 1
            for phrase, labels in self._phrases.get(tokens[position], ()):
                if tokens[position : position + len(phrase)] == phrase:
                    hits.update(labels)
                    step = len(phrase)
                    break
            position += step
        return hits


def _tokens(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
        return _TOKEN.findall(unicodedata.normalize("NFKC", text))
    return _TOKEN.findall(text.lower())


def _index(keywords: Mapping[str, Sequence[str]]) -> _Phrases:
    labels_of: dict[tuple[str, ...], list[str]] = {}
    for label, phrases in keywords.items():
        for phrase in dict.fromkeys(tuple(_tokens(phrase)) for phrase in phrases):
            if phrase:
                labels_of.setdefault(phrase, []).append(label)
    index: _Phrases = {}
    for phrase, labels in sorted(labels_of.items(), key=lambda item: -len(item[0])):
        index.setdefault(phrase[0], []).append((list(phrase), labels))
    return index
