"""Answers from a file of recorded outcomes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.upstream.answers import Answer, OutcomesError, documents_in

_NEEDED = ("dataset", "text", "model", "response")
_OPTIONAL = ("confidence", "input_tokens", "output_tokens")
_RECORDED = ("model", "text", "response", *_OPTIONAL)


class OutcomeAnswers:
    """Answers as recorded; where a text occurs twice for a model, the file's first row answers."""

    def __init__(self, path: Path, *, datasets: tuple[str, ...] = (), models: tuple[str, ...] = ()) -> None:
        table = _read(path, datasets, models)
        self._answers: dict[str, dict[str, Answer]] = {}
        for model, answer in _recorded(table):
            self._add(model, answer)
        self.models = tuple(sorted({model for by_model in self._answers.values() for model in by_model}))
        absent = sorted(set(models) - set(self.models))
        if absent or not self.models:
            raise OutcomesError(
                f"{path}: no recorded responses for {absent or 'the datasets and models asked for'}"
            )

    def find(self, model: str, message: str) -> Answer | None:
        """By the exact text first, then within document tags, then after the last blank line."""
        for text in documents_in(message):
            by_model = self._answers.get(text)
            if by_model is not None and model in by_model:
                return by_model[model]
        return None

    def texts(self, model: str) -> list[str]:
        """The documents that this model answers."""
        return [text for text, by_model in self._answers.items() if model in by_model]

    def _add(self, model: str, answer: Answer) -> None:
        self._answers.setdefault(answer.text, {}).setdefault(model, answer)


def _read(path: Path, datasets: tuple[str, ...], models: tuple[str, ...]) -> Any:
    columns = set(pq.read_schema(path).names)
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise OutcomesError(f"{path}: no column {missing[0]!r}; needed: {', '.join(_NEEDED)}")
    table = pq.read_table(path, columns=[*_NEEDED, *(name for name in _OPTIONAL if name in columns)])
    if models:
        table = table.filter(pc.is_in(table["model"], value_set=_values(models, table["model"].type)))
    if not datasets:
        return table
    wanted = [name for name in pc.unique(table["dataset"]).to_pylist() if _is_asked(name, datasets)]
    return table.filter(pc.is_in(table["dataset"], value_set=_values(tuple(wanted), table["dataset"].type)))


def _is_asked(name: str, datasets: tuple[str, ...]) -> bool:
    """A dataset is asked for by its full name or by the part after the slash."""
    return name in datasets or name.rpartition("/")[2] in datasets


def _values(items: tuple[str, ...], kind: Any) -> Any:
    return pa.array(items, type=kind)


def _recorded(table: Any) -> Iterator[tuple[str, Answer]]:
    """Model and answer of each row; rows without a response (correctness only) are left out."""
    table = table.filter(pc.is_valid(table["response"]))
    names, empty = table.column_names, [None] * table.num_rows
    columns = [table[name].to_pylist() if name in names else empty for name in _RECORDED]
    for model, text, response, confidence, given, said in zip(*columns, strict=True):
        answer = Answer(
            text=text, content=response, confidence=confidence, input_tokens=given, output_tokens=said
        )
        yield model, answer
