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
        found = [(_real_path(each, data), dict(each)) for each in error.errors()]
        raise SpecError(
            source, [_problem(kind, path, each, lines) for path, each in _merged(found)]
        ) from None


def _parse(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    lines: dict[Path, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
        repeats = list(_walk(node, (), lines)) if isinstance(data, dict) else []
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = str(getattr(error, "problem", None) or error)
        line = mark.line + 1 if mark else None
        raise SpecError(
            source, [Problem("(file)", f"is not YAML: {said}", "Correct the syntax.", line)]
        ) from None
    except RecursionError:
        problem = Problem(
            "(file)", "is nested too deep, or refers to itself", "Write it without that anchor."
        )
        raise SpecError(source, [problem]) from None
    except ValueError as error:  # a date such as 2024-13-45
        raise SpecError(
            source, [Problem("(file)", f"is not YAML: {error}", "Put that value in quotes.")]
        ) from None
    if not isinstance(data, dict):
        raise SpecError(source, [Problem("(file)", "holds no mapping", "Start with `name:`, `task:`, …", 1)])
    if repeats:
        raise SpecError(source, repeats)
    return data, lines


def _walk(node: Any, path: Path, lines: dict[Path, int]) -> list[Problem]:
    """Note the line of every path; return the keys that are written twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    problems: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        written: set[str] = set()
        for key, value in node.value:
            inner = (*path, key.value)
            if key.value in written:
                place = _dotted(inner)
                problems.append(Problem(place, "is written twice", "Keep one.", key.start_mark.line + 1))
            written.add(key.value)
            lines[inner] = key.start_mark.line + 1
            problems += _walk(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            problems += _walk(value, (*path, index), lines)
    return problems


def _merged(found: list[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    """One problem per mistake: of a union, pydantic reports every member it tried."""
    kept: list[tuple[Path, Any]] = []
    for path, item in found:
        if item["type"].endswith("_type"):
            if any(other != path and other[: len(path)] == path for other, _ in found):
                continue  # another member fits but for what is wrong inside it
            twins = [each for other, each in kept if other == path and each["type"].endswith("_type")]
            if twins:
                twins[0]["msg"] += f" or {item['msg'].removeprefix('Input should be ')}"
                continue
        kept.append((path, item))
    return kept


def _problem(kind: type[Model], path: Path, item: Any, lines: dict[Path, int]) -> Problem:
    message, fix = _explain(kind, item)
    return Problem(_dotted(path), message, fix, _line(path, lines))


def _real_path(item: Any, data: Any) -> Path:
    """Pydantic puts the names of union members into the path; keep what the file really has."""
    path: list[str | int] = []
    here = data
    missing, loc = item["type"] == "missing", item["loc"]
    if item["type"].startswith("union_tag"):
        missing, loc = True, (*loc, _tag_of(item))
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


def _tag_of(item: Any) -> str:
    return str(item["ctx"]["discriminator"]).strip("'")


def _explain(kind: type[Model], item: Any) -> tuple[str, str]:
    context = item.get("ctx", {})
    loc: Path = item["loc"]
    last = str(loc[-1]) if loc else ""
    match item["type"]:
        case "missing":
            return "is missing", f"Add `{last}: …`{_described(kind, loc)}."
        case "extra_forbidden":
            known = sorted(_fields(kind, loc[:-1]))
            near = difflib.get_close_matches(last, known, 1)
            return (
                "is not a known key",
                f"Did you mean `{near[0]}`?" if near else f"Remove it; known: {', '.join(known)}.",
            )
        case "literal_error":
            return (
                f"{_short(item['input'])} is not one of the known values",
                f"Write one of: {context['expected']}.",
            )
        case "union_tag_invalid":
            return (
                f"{context['tag']!r} is not one of the known values",
                f"Write one of: {context['expected_tags']}.",
            )
        case "union_tag_not_found":
            return "is missing", f"Add `{_tag_of(item)}: …`."
        case "value_error":
            return str(context.get("error", item["msg"])), ""
        case "string_pattern_mismatch":
            return f"{item['input']!r} has a form that is not allowed", f"It must match {context['pattern']}."
        case _:
            fix = "Put it in quotes." if _is_unquoted(item) else ""
            return f"{_short(item['input'])}: {item['msg'][:1].lower()}{item['msg'][1:]}", fix


def _is_unquoted(item: Any) -> bool:
    """Whether YAML read a number, a date or a yes/no where text was meant."""
    return item["type"] == "string_type" and not isinstance(item["input"], str | list | dict | None)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "…"


def _described(kind: type[Model], loc: Path) -> str:
    field = _fields(kind, loc[:-1]).get(str(loc[-1])) if loc else None
    return f" ({field.description.rstrip('.')})" if field and field.description else ""


def _fields(kind: type[Model], loc: Path) -> dict[str, FieldInfo]:
    """The fields a model may have at this place, as written; a union's tag in `loc` picks its member."""
    kinds: list[type[Model]] = [kind]
    for key in loc:
        tagged = [each for each in kinds if len(kinds) > 1 and key in _tags(each)]
        found = [each.model_fields[key].annotation for each in kinds if key in each.model_fields]
        if tagged:
            kinds = tagged
        elif found:
            kinds = [model for annotation in found for model in _models(annotation)]
    return {field.alias or name: field for each in kinds for name, field in each.model_fields.items()}


def _tags(kind: type[Model]) -> set[str]:
    fields = [kind.model_fields[name] for name in ("kind", "provider", "name") if name in kind.model_fields]
    return {tag for field in fields for tag in get_args(field.annotation)}


def _models(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a job spec, for editors."""
    return JobSpec.model_json_schema(by_alias=True)
