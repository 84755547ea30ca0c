"""From YAML text to a JobSpec, or to every mistake at once, each with its path, its line and the fix."""

import difflib
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from schemas.errors import Problem, SpecError
from schemas.job import JobSpec
from schemas.model import Model

Path = tuple[str | int, ...]
M = TypeVar("M", bound=Model)


def load_spec(text: str, source: str = "job spec") -> JobSpec:
    """Parse and validate; raises SpecError with all problems."""
    return load_model(JobSpec, text, source)


def load_model(kind: type[M], text: str, source: str) -> M:
    """The same for any model a person writes in YAML (a taxonomy, say)."""
    data, lines = _parse(text, source)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = [(_real_path(each["loc"], data, each["type"] == "missing"), each) for each in error.errors()]
        deepest = [(path, each) for path, each in found if not _shadowed(path, each, found)]
        raise SpecError(source, [_problem(kind, path, each, lines) for path, each in deepest]) from None


def _parse(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = str(getattr(error, "problem", None) or error)
        line = mark.line + 1 if mark else None
        raise SpecError(
            source, [Problem("(file)", f"is not YAML: {said}", "Correct the syntax.", line)]
        ) from None
    if not isinstance(data, dict):
        raise SpecError(source, [Problem("(file)", "holds no mapping", "Start with `name:`, `task:`, …", 1)])
    lines: dict[Path, int] = {}
    if repeats := list(_walk(node, (), lines)):
        raise SpecError(source, repeats)
    return data, lines


def _walk(node: Any, path: Path, lines: dict[Path, int]) -> list[Problem]:
    """Note the line of every path; return the keys that are written twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    problems: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            if inner in lines:
                place = _dotted(inner)
                problems.append(Problem(place, "is written twice", "Keep one.", key.start_mark.line + 1))
            lines[inner] = key.start_mark.line + 1
            problems += _walk(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            problems += _walk(value, (*path, index), lines)
    return problems


def _shadowed(path: Path, item: Any, found: list[tuple[Path, Any]]) -> bool:
    """A mapping where a file name could stand too is reported by what is wrong inside it."""
    if item["type"] != "string_type" or not isinstance(item["input"], dict):
        return False
    return any(other != path and other[: len(path)] == path for other, _ in found)


def _problem(kind: type[Model], path: Path, item: Any, lines: dict[Path, int]) -> Problem:
    message, fix = _explain(kind, item, path)
    return Problem(_dotted(path), message, fix, _line(path, lines))


def _real_path(loc: Path, data: Any, missing: bool) -> Path:
    """Pydantic puts the names of union members into the path; keep what the file really has."""
    path: list[str | int] = []
    here = data
    for position, key in enumerate(loc):
        if (isinstance(here, dict) and key in here) or (
            isinstance(here, list) and isinstance(key, int) and key < len(here)
        ):
            here = here[key]
            path.append(key)
        elif missing and position == len(loc) - 1:
            path.append(key)
    return tuple(path)


def _line(path: Path, lines: dict[Path, int]) -> int | None:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _dotted(path: Path) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") or "(file)"


def _explain(kind: type[Model], item: Any, path: Path) -> tuple[str, str]:
    context = item.get("ctx", {})
    last = str(path[-1]) if path else ""
    match item["type"]:
        case "missing":
            return "is missing", f"Add `{last}: …`{_described(kind, path)}."
        case "extra_forbidden":
            known = _known_keys(kind, path[:-1])
            near = difflib.get_close_matches(last, known, 1)
            return (
                "is not a known key",
                f"Did you mean `{near[0]}`?" if near else f"Remove it; known: {', '.join(known)}.",
            )
        case "literal_error" | "union_tag_invalid":
            known = context.get("expected") or context.get("expected_tags", "")
            said = (
                item["input"].get("provider", item["input"].get("kind"))
                if isinstance(item["input"], dict)
                else item["input"]
            )
            return f"{said!r} is not one of the known values", f"Write one of: {known}."
        case "union_tag_not_found":
            return f"does not say its {context['discriminator']}", f"Add {context['discriminator']}: …"
        case "value_error":
            return str(context.get("error", item["msg"])), ""
        case "string_pattern_mismatch":
            return f"{item['input']!r} has a form that is not allowed", f"It must match {context['pattern']}."
        case _:
            return f"{_short(item['input'])}: {item['msg'][:1].lower()}{item['msg'][1:]}", ""


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "…"


def _described(kind: type[Model], path: Path) -> str:
    fields = _fields(kind, path[:-1])
    field = fields.get(str(path[-1])) if path else None
    return f" ({field.description.rstrip('.')})" if field and field.description else ""


def _known_keys(kind: type[Model], path: Path) -> list[str]:
    return sorted(field.alias or name for name, field in _fields(kind, path).items())


def _fields(kind: type[Model], path: Path) -> dict[str, FieldInfo]:
    """The fields a model may have at this path, over all members of a union."""
    kinds: list[type[Model]] = [kind]
    for key in path:
        if isinstance(key, int):
            continue
        found = [each.model_fields[key].annotation for each in kinds if key in each.model_fields]
        kinds = [model for annotation in found for model in _models(annotation)]
    return {name: field for each in kinds for name, field in each.model_fields.items()}


def _models(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a job spec, for editors."""
    return JobSpec.model_json_schema(by_alias=True)
