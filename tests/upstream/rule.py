"""Answers by rule, for when there is no outcomes file."""

import re
from collections.abc import Mapping

from tests.upstream.answers import Answer, Answers, tagged_documents
from tests.upstream.keyed import pick, unit

_GOLD = re.compile(r"\[gold=([^\]]+)\]")
_JUDGED = re.compile(r"<answer>\n(.*?)\n</answer>\s*A: the answer is (right|wrong)\n", re.DOTALL)
_PAIR = re.compile(
    r"<answer_1>\n(.*?)\n</answer_1>\s*<answer_2>\n(.*?)\n</answer_2>\s*A: the answers (say the same|differ)\n",
    re.DOTALL,
)
_WORDS = ("It is about {}.", "The message concerns {}", "topic: {}", "This one, on {}, should be looked at")


class EchoLabel:
    """Says the gold label a text declares with the model's accuracy, else another label; always the same.

    Confidence is uniform in [0.6, 1) for right answers and in [0.3, 0.8) for wrong ones. A text that declares
    no gold gets one by hash. Asked whether an answer is right, it says the letter of the verdict, as often truly.
    """

    def __init__(self, *, labels: tuple[str, ...], accuracy: Mapping[str, float], seed: int) -> None:
        self.models = tuple(sorted(accuracy))
        self._labels = labels
        self._accuracy = dict(accuracy)
        self._seed = seed

    def find(self, model: str, message: str) -> Answer:
        """The answer to the tagged document, else to the message from its last gold mark on."""
        text = next(tagged_documents(message), None) or message[max(0, message.rfind("[gold=")) :]
        mark = _GOLD.search(text)
        gold = mark[1] if mark else pick(self._labels, self._seed, "gold", text)
        spread = unit(self._seed, "confidence", model, text)
        if judged := _JUDGED.search(message):
            return self._verdict(model, text, judged[1] == gold, right="AB"[judged[2] == "wrong"])
        if unit(self._seed, "right", model, text) < self._accuracy[model]:
            return Answer(text=text, content=gold, confidence=0.6 + 0.4 * spread)
        others = tuple(label for label in self._labels if label != gold)
        wrong = pick(others, self._seed, "wrong", model, text)
        return Answer(text=text, content=wrong, confidence=0.3 + 0.5 * spread)

    def _verdict(self, model: str, text: str, good: bool, right: str) -> Answer:
        spread = unit(self._seed, "verdict", model, text)
        truly = unit(self._seed, "judges", model, text) < self._accuracy[model]
        letter = right if truly == good else {"A": "B", "B": "A"}[right]
        return Answer(text=text, content=letter, confidence=(0.6 if truly else 0.5) + 0.4 * spread)


class FreeText(EchoLabel):
    """Says the same in words of its own, each model and document others. Asked whether two answers say the same, it
    tells by the labels in them; of a pair that holds "unclear" it says nothing that can be read."""

    def find(self, model: str, message: str) -> Answer:
        if pair := _PAIR.search(message):
            one, two = ({label for label in self._labels if label in pair[at]} for at in (1, 2))
            said = "AB"[(one == two) == (pair[3] == "differ")]
            return Answer(text=message, content="Hm." if "unclear" in message else said, confidence=0.9)
        found = super().find(model, message)
        words = pick(_WORDS, self._seed, "words", model, found.text).format(found.content)
        return Answer(text=found.text, content=words, confidence=found.confidence)


class DefaultAnswer:
    """A source with a fallback for documents it does not know."""

    def __init__(self, source: Answers, content: str) -> None:
        self.models = source.models
        self._source = source
        self._content = content

    def find(self, model: str, message: str) -> Answer:
        """The source's answer, else the default."""
        found = self._source.find(model, message)
        return found if found is not None else Answer(text=message, content=self._content)
