"""From the text of a completion to an answer: tolerant of form, strict about what counts as one."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from schemas.job import AnswerTask, ClassifyTask, ExtractTask, Task
from schemas.records import Answer, Completion, Value

Parser = Callable[[Completion], Answer]
_DENIAL = re.compile(r"\b(?:not?|neither|nor|never|cannot|except)\b|n't\b", re.I)  # "this is not billing"
_FENCE = re.compile(r"^```(?:[a-zA-Z]*\s*\n)?\s*|\s*```$")
_LEAD = re.compile(r"^(?:the\s+)?(?:final\s+)?(?:label|answer|category|class)\b\s*(?:is\b)?\s*[:=]?\s*", re.I)
_BULLET = re.compile(r"^\s*[-*]\s+")
_KEYS = ("label", "labels", "answer", "category", "class", "value")


def parser_of(task: Task) -> Parser:
    """A parser with the task's tables built once. Never raises: what does not parse says why."""
    match task:
        case ClassifyTask():
            read = _many_labels(task) if task.mode == "multi" else _one_label(task)
        case ExtractTask():
            read = _object_reader(task)
        case AnswerTask():
            read = _one_of(task.choices) if task.choices else _free_text
    abstain = task.abstain if isinstance(task, ClassifyTask) else None

    def parse(completion: Completion) -> Answer:
        if problem := _unusable(completion):
            return Answer(value=None, problem=problem)
        value, problem = read(completion.text)
        if value is None:
            return Answer(value=None, problem=problem)
        abstained = abstain is not None and value in (abstain, [abstain])
        return Answer(value=value, confidence=completion.confidence, abstained=abstained)

    return parse


def _unusable(completion: Completion) -> str:
    match completion.finish_reason:
        case "malformed":
            return "malformed reply"
        case "refusal" | "content_filter":
            return "refused"
        case "length":
            return "truncated"
        case _:
            return "" if completion.text.strip() else "empty"


Read = Callable[[str], tuple[Value | None, str]]


def _one_label(task: ClassifyTask) -> Read:
    names = [label.name for label in task.labels]
    return _one_of(names, paths=task.mode == "hierarchical")


def _one_of(names: list[str], paths: bool = False) -> Read:
    exact = {form: name for name in names for form in _usual_forms(name)}
    folded = _folded(names, paths)
    words = {name: _word(name) for name in names}

    def read(text: str) -> tuple[Value | None, str]:
        if (usual := exact.get(text)) is not None:  # the common case, before any work
            return usual, ""
        said = _scalar(text)
        for form in (said, _LEAD.sub("", said)):
            if found := exact.get(form) or folded.get(_fold(form)):
                return found, ""
        if len(said) <= 200 and not _DENIAL.search(said) and len(named := _named(words, said)) == 1:
            return named.pop(), ""
        return None, f"outside the label set: {said[:60]!r}"

    return read


def _usual_forms(name: str) -> list[str]:
    """The name, and the object of structured output that holds it."""
    wrapped = [{key: name} for key in ("label", "answer")]
    return [name, *map(json.dumps, wrapped), *(json.dumps(each, separators=(",", ":")) for each in wrapped)]


def _word(name: str) -> re.Pattern[str]:
    """The name as a whole word; a number not as a part of another number."""
    before = r"(?<![\w+-])(?<!\d[.,])" if name[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w|[.,]\d)" if name[-1].isdigit() else r"(?!\w)"
    return re.compile(before + re.escape(name) + after, re.I)


def _named(words: dict[str, re.Pattern[str]], said: str) -> set[str]:
    """The names a sentence holds, less those that only stand inside a longer one."""
    spans = [(*each.span(), name) for name, word in words.items() for each in word.finditer(said)]
    return {
        name
        for start, end, name in spans
        if not any(first <= start and end <= last and end - start < last - first for first, last, _ in spans)
    }


def _many_labels(task: ClassifyTask) -> Read:
    names = [label.name for label in task.labels]
    exact = {form: name for name in names for form in _usual_forms(name)}
    folded = _folded(names, paths=False)

    def read(text: str) -> tuple[Value | None, str]:
        said = _listed(text)
        found = [each if each in exact else folded.get(_fold(each)) for each in said]
        if None in found:
            return None, f"outside the label set: {said[found.index(None)][:60]!r}"
        chosen = [name for name in names if name in found]
        if not chosen and task.abstain:
            chosen = [task.abstain]
        return chosen, ""

    return read


def _folded(names: list[str], paths: bool) -> dict[str, str]:
    """Names by their folded form, as far as that says which one is meant."""
    forms = Counter(_fold(name) for name in names)
    folded = {_fold(name): name for name in names if forms[_fold(name)] == 1}
    if paths:  # a leaf alone is enough where it is the only one of that name
        leaves = Counter(_fold(name.rsplit("/", 1)[-1]) for name in names)
        for name in names:
            leaf = _fold(name.rsplit("/", 1)[-1])
            if leaves[leaf] == 1 and leaf not in forms:
                folded[leaf] = name
    folded.pop("", None)
    return folded


def _fold(text: str) -> str:
    """Case, quotes, a trailing full stop, and the kind of separator do not make another label."""
    return re.sub(r"[\s_\-]+", " ", text.strip().strip("\"'`*.").strip()).casefold()


def _decode(text: str) -> Any:
    """The JSON in a text: the whole, or the first object or list within it; None when there is none."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        text = _FENCE.sub("", text)
    try:
        return json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        pass
    decoder = json.JSONDecoder()
    for match in re.finditer(r"[{\[]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except RecursionError:
            return None
        except ValueError:
            continue
    return None


def _unwrap(data: Any) -> Any:
    if isinstance(data, dict):
        for key in _KEYS:
            if key in data:
                return data[key]
        if len(data) == 1:
            return next(iter(data.values()))
    return data


def _scalar(text: str) -> str:
    data = _unwrap(_decode(text)) if any(mark in text for mark in '{["`') else None
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    return data if isinstance(data, str) else _FENCE.sub("", text.strip())


def _listed(text: str) -> list[str]:
    data = _unwrap(_decode(text))
    if isinstance(data, str):
        data = [data]
    if isinstance(data, list) and all(isinstance(each, str) for each in data):
        return list(data)
    parts = re.split(r"[,;\n]", _FENCE.sub("", text.strip()))
    return [_BULLET.sub("", part) for part in parts if part.strip(" -*")]


def _object_reader(task: ExtractTask) -> Read:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(task.schema_)

    def read(text: str) -> tuple[Value | None, str]:
        data = _decode(text)
        if not isinstance(data, dict):
            return None, "holds no JSON object"
        if not _is_unicode(data):
            return None, "holds half a surrogate pair: not Unicode"
        error = next(iter(validator.iter_errors(data)), None)
        if error is not None:
            return None, f"does not follow the schema at {error.json_path}: {error.message[:80]}"
        return data, ""

    return read


def _is_unicode(data: Any) -> bool:
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _free_text(text: str) -> tuple[Value | None, str]:
    return text.strip(), ""
