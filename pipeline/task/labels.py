"""The labels that an answer gives."""

import json

from schemas.job import ClassifyTask, Task


def labels_in(task: Task, answer: str | None) -> list[str]:
    """Of an answer as it stands in tables: those of a set each by itself, anything else as a whole."""
    if answer is None:
        return []
    if not isinstance(task, ClassifyTask) or task.mode != "multi":
        return [answer]
    said = json.loads(answer)
    return [str(label) for label in said] if isinstance(said, list) else []
