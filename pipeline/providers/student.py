"""A tier that has learned from the answers other tiers gave: fitted once, kept, and the same wherever it is loaded."""

import zlib
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np

from pipeline.providers.local import Guess, LocalTier
from pipeline.providers.ngrams import Grams, Ngrams, fit_grams
from pipeline.providers.softmax import Model, fit, training_hash

LEAST_SHARE = 0.02  # of held-out queries that it must be able to answer


class Lesson(msgspec.Struct, frozen=True):
    """An accepted answer."""

    text: str
    label: str
    weight: float  # 1 where the label is known to be right, else P(correct)
    cost: int  # nano-dollars that it came to
    fair: bool = True  # no student chose who answers it


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """What a model fitted without a lesson made of it."""

    confidence: float
    agreed: bool
    cost: int  # nano-dollars


class Student(msgspec.Struct, frozen=True):
    version: str
    lessons: int
    names: list[str]
    words: Grams
    chars: Grams
    weights: bytes  # float16, (features, names)
    bias: bytes  # float32
    temperature: float
    trials: list[Trial]  # the held-out fifth of the fair lessons, on which the temperature was fitted


def teach(lessons: Sequence[Lesson]) -> Student:
    """TF-IDF and a multinomial logistic regression, as the sklearn tier, each lesson counting its weight. Blocks for
    seconds. Raises ValueError for fewer than two labels."""
    texts, labels = [each.text for each in lessons], [each.label for each in lessons]
    counts = np.array([each.weight for each in lessons], dtype=np.float32)
    words, chars, matrix = fit_grams(texts)
    model, held = fit(matrix, texts, labels, counts, np.array([each.fair for each in lessons]))
    trials = []
    for row, chances in zip(held.rows, held.chances, strict=True) if held else ():
        best, lesson = int(chances.argmax()), lessons[row]
        trials.append(Trial(float(chances[best]), model.names[best] == lesson.label, lesson.cost))
    return Student(
        version=training_hash(texts, [[each.label, each.weight] for each in lessons], False),
        lessons=len(lessons),
        names=model.names,
        words=words,
        chars=chars,
        weights=model.weights.astype(np.float16).tobytes(),
        bias=model.bias.tobytes(),
        temperature=model.temperature,
        trials=trials,
    )


def why_not(student: Student, accept: float) -> str | None:
    """Why it does not pay at this threshold, by what was held out: it answers next to nothing, it is believed more
    often than it agrees, or what it would answer cost nothing anyway. None: it pays."""
    sure = [trial for trial in student.trials if trial.confidence >= accept]
    if len(sure) < LEAST_SHARE * max(len(student.trials), 1) or not sure:
        return f"it would answer {len(sure)} of {len(student.trials)} held-out queries"
    agreed = sum(trial.agreed for trial in sure) / len(sure)
    if agreed < accept:
        return f"it agrees on {agreed:.3f} of what it would answer, less than its accept of {accept:g}"
    if not any(trial.cost for trial in sure if trial.agreed):
        return "what it would answer costs nothing without it"
    return None


def encode(student: Student) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(student), 1)


def decode(data: bytes) -> Student:
    return msgspec.msgpack.decode(zlib.decompress(data), type=Student)


class StudentTier(LocalTier):
    """Confidence is a probability, calibrated on the held-out lessons. `kept_from`: share of texts it has no answer
    to, whatever it knows."""

    def __init__(self, student: Student, *, kept_from: float = 0.0) -> None:
        super().__init__(model=f"student-{student.version}")
        self._version, self._kept_from = student.version, kept_from
        self._ngrams = Ngrams(student.words, student.chars)
        weights = np.frombuffer(student.weights, dtype=np.float16).reshape(-1, len(student.names))
        self._model = Model(
            student.names,
            weights.astype(np.float32),
            np.frombuffer(student.bias, dtype=np.float32),
            student.temperature,
            False,
        )

    def guess(self, texts: Sequence[str]) -> list[Guess]:
        return [self._guess(text) for text in texts]

    def chance(self, text: str, label: str) -> float | None:
        """P(label), for a judge; None for texts it is kept from and labels it never met."""
        if label not in self._model.names or self._draw(text) < self._kept_from:
            return None
        return float(self._model.chances(*self._ngrams.row(text))[self._model.names.index(label)])

    def _guess(self, text: str) -> Guess:
        if self._draw(text) < self._kept_from:
            return Guess("")
        chances = self._model.chances(*self._ngrams.row(text))
        best = int(chances.argmax())
        return Guess(self._model.names[best], float(chances[best]))

    def _draw(self, text: str) -> float:
        digest = blake2b(f"{self._version} {text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
