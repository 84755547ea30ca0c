"""Gold as an answer is written in tables, so that the two compare as text."""

import json
from collections.abc import Callable

from schemas.job import AnswerTask, ClassifyTask, ExtractTask, Task


def gold_of(task: Task) -> Callable[[str], str]:
    """Sets of labels in the task's order, objects with sorted keys; what is neither stays as it is."""
    match task:
        case ClassifyTask():
            return _label_set(task) if task.mode == "multi" else str
        case ExtractTask():
            return _as_object
        case AnswerTask():
            return str


def _label_set(task: ClassifyTask) -> Callable[[str], str]:
    order = {label.name: position for position, label in enumerate(task.labels)}

    def read(gold: str) -> str:
        data = _decoded(gold)
        labels = data if isinstance(data, list) else [part.strip() for part in gold.split(",")]
        names = sorted({str(label) for label in labels}, key=lambda name: (order.get(name, len(order)), name))
        return json.dumps(names, ensure_ascii=False)

    return read


def _as_object(gold: str) -> str:
    data = _decoded(gold)
    return json.dumps(data, ensure_ascii=False, sort_keys=True) if isinstance(data, dict) else gold


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
