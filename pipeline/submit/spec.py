"""Reading a spec: its files, its prices, its mistakes. Whatever is wrong is said before the first call."""

from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pipeline.ingest import check_input
from pipeline.providers.http import HttpClient
from pipeline.submit.checks import cross_check
from pipeline.task.parse import parser_of
from pipeline.webhook import secret_of
from pipeline.wiring.tiers import (
    ENCODER,
    build_embeddings,
    build_provider,
    encoder_of,
    price_encoder,
    price_tier,
    read_training,
)
from schemas.errors import BadSecret, InputError, Problem, SpecError, TierwiseError
from schemas.ids import TierName
from schemas.job import (
    JobSpec,
    KeywordTier,
    RecordedTier,
    SklearnTier,
    StudentTier,
)
from schemas.loading import load_model, load_spec
from schemas.money import FREE, Price
from schemas.records import Completion
from schemas.taxonomy import TaxonomySpec

DOCUMENTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # what is taken for a spec by mistake
RELATIVE = "Paths are relative to the spec's folder."


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A spec that holds, with the files it names read in and its tiers priced."""

    spec: JobSpec
    prices: dict[TierName, Price]
    training: dict[TierName, Path]
    inputs: list[Path]


async def read_spec(
    path: Path,
    budget: Decimal | None = None,
    *,
    for_calls: bool = True,
    change: Callable[[JobSpec], JobSpec] = lambda spec: spec,
) -> Prepared:
    """Everything that is wrong at once, as SpecError; InputError where there is no such file.
    `for_calls`: the tiers' credentials must be there too. `change`: what the command line says otherwise."""
    if path.suffix.lower() in DOCUMENTS:
        why, fix = (
            "it holds documents, a job spec says what to do with them",
            f"Write one: tierwise init {path}",
        )
        raise InputError(path=path, why=why, fix=fix)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path=path, why=_why(error), fix=_specs_near(path)) from None
    spec = load_spec(text, str(path))
    if budget is not None:
        spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"usd": budget})})
    return await prepare(change(spec), path.parent, str(path), for_calls=for_calls)


async def prepare(spec: JobSpec, base: Path, source: str, *, for_calls: bool = True) -> Prepared:
    """All that can be known to fail is collected first, then said together."""
    problems: list[Problem] = []
    spec = _read_in(spec, base, problems)
    problems += cross_check(spec)
    prices: dict[TierName, Price] = {}
    training: dict[TierName, Path] = {}
    for index, tier in enumerate(spec.tiers):
        try:
            if isinstance(tier, SklearnTier):
                training[TierName(tier.name)] = _training_file(tier, spec, base)
            elif isinstance(tier, StudentTier):
                continue
            elif not isinstance(tier, KeywordTier) or isinstance(tier.keywords, dict):
                prices[TierName(tier.name)] = price_tier(tier) or FREE
                if for_calls:
                    build_provider(tier, spec, prices[TierName(tier.name)], HttpClient(), None).check()
        except TierwiseError as error:
            problems.append(Problem(f"tiers[{index}]", error.message, error.fix))
    problems += _price_encoder(spec, prices, for_calls)
    if spec.webhook is not None and for_calls:
        try:
            secret_of(spec.webhook.secret_env)
        except BadSecret as error:
            problems.append(Problem("webhook.secret_env", error.message, error.fix))
    inputs: list[Path] = []
    try:
        inputs = await check_input(spec.input, base)
    except InputError as error:
        problems.append(Problem("input", error.message, error.fix))
    if problems:
        raise SpecError(source, problems)
    return Prepared(spec=spec, prices=prices, training=training, inputs=inputs)


def _price_encoder(spec: JobSpec, prices: dict[TierName, Price], for_calls: bool) -> list[Problem]:
    """Puts the price of the encoder's endpoint to those of the tiers."""
    use = encoder_of(spec)
    if use is None:
        return []
    try:
        prices[ENCODER] = price_encoder(use)
        if for_calls:
            build_embeddings(use, prices[ENCODER], HttpClient()).check()
    except TierwiseError as error:
        return [Problem("policy.encoder", error.message, error.fix)]
    return []


def _read_in(spec: JobSpec, base: Path, problems: list[Problem]) -> JobSpec:
    """The spec with its taxonomy and keyword files read in, so that workers elsewhere need no file."""
    changes: dict[str, Any] = {}
    use = spec.taxonomy
    if use is not None and isinstance(use.tree, str):
        try:
            tree = load_model(TaxonomySpec, (base / use.tree).read_text(encoding="utf-8"), use.tree)
            changes["taxonomy"] = use.model_copy(update={"tree": tree})
        except SpecError as error:
            problems += [
                Problem(f"taxonomy: {each.path}", each.message, each.fix, each.line)
                for each in error.problems
            ]
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem("taxonomy", f"{use.tree} cannot be read: {_why(error)}", RELATIVE))
    tiers = [_read_keywords(tier, index, base, problems) for index, tier in enumerate(spec.tiers)]
    tiers = [_whole_path(tier, base) if isinstance(tier, RecordedTier) else tier for tier in tiers]
    return spec.model_copy(update={**changes, "tiers": tiers})


def _read_keywords(tier: Any, index: int, base: Path, problems: list[Problem]) -> Any:
    if not isinstance(tier, KeywordTier) or isinstance(tier.keywords, dict):
        return tier
    try:
        data = yaml.safe_load((base / tier.keywords).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no mapping")
        return KeywordTier.model_validate({**tier.model_dump(), "keywords": data})
    except OSError as error:
        why = f"{tier.keywords} cannot be read: {_why(error)}"
        problems.append(Problem(f"tiers[{index}].keywords", why, RELATIVE))
    except (yaml.YAMLError, ValueError) as error:
        why = str(error).splitlines()[0]
        fix = "Write it as `label: [keyword, …]`."
        problems.append(
            Problem(f"tiers[{index}].keywords", f"{tier.keywords} is no keyword file: {why}", fix)
        )
    return tier


def _specs_near(path: Path) -> str:
    """Where a relative path was looked for, and the specs that are there."""
    folder = path if path.is_dir() else path.parent
    found = sorted(each.name for each in folder.glob("*.y*ml")) if folder.is_dir() else []
    near = get_close_matches(path.name, found, n=3) or found[:3]
    there = (
        f"; there is {', '.join(near)}" if near else "; `tierwise init FILE` writes one from your documents"
    )
    return f"Give the path of a job spec in YAML. Looked in {folder.absolute()}{there}."


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start}"
    return error.strerror or str(error)


def _whole_path(tier: RecordedTier, base: Path) -> RecordedTier:
    """Outcomes are too large to pin: every worker must reach the same path."""
    return tier.model_copy(update={"outcomes": str((base / tier.outcomes).absolute())})


def _training_file(tier: SklearnTier, spec: JobSpec, base: Path) -> Path:
    path = base / tier.train
    if not path.is_file():
        raise InputError(path=tier.train, why="no such file", fix=RELATIVE)
    _, labels = read_training(tier, path)
    parse = parser_of(spec.task)
    said = [Completion(text=label, finish_reason="stop") for label in sorted(set(labels))]
    if unknown := [each.text for each in said if parse(each).value is None]:
        fix = "Use the labels of the task."
        raise InputError(path=tier.train, why=f"unknown labels: {', '.join(unknown)}", fix=fix)
    return path
