"""From a spec file to a job that is ready to run. Whatever is wrong is said before the first call."""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pipeline.ingest import check_input, ingest
from pipeline.providers.http import HttpClient
from pipeline.task.gold import gold_of
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from pipeline.wiring import POLICIES, build_policy, build_provider, build_taxonomy, price_tier, read_training
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import InputError, JobExists, Problem, SpecError, TierwiseError
from schemas.ids import AccountId, JobId, TierName
from schemas.job import ClassifyTask, JobSpec, KeywordTier, RecordedTier, SklearnTier
from schemas.loading import load_model, load_spec
from schemas.manifest import Manifest
from schemas.money import FREE, Price, usd_to_nano
from schemas.records import Completion
from schemas.taxonomy import TaxonomySpec

RELATIVE = "Paths are relative to the spec's folder."


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A spec that holds, with the files it names read in and its tiers priced."""

    spec: JobSpec
    prices: dict[TierName, Price]
    training: dict[TierName, Path]
    inputs: list[Path]


async def read_spec(path: Path, budget: Decimal | None = None, *, for_calls: bool = True) -> Prepared:
    """Everything that is wrong at once, as SpecError; InputError where there is no such file.
    `for_calls`: the tiers' credentials must be there too."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path=path, why=_why(error), fix="Give the path of a job spec in YAML.") from None
    spec = load_spec(text, str(path))
    if budget is not None:
        spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"usd": budget})})
    return await prepare(spec, path.parent, str(path), for_calls=for_calls)


async def prepare(spec: JobSpec, base: Path, source: str, *, for_calls: bool = True) -> Prepared:
    """All that can be known to fail is collected first, then said together."""
    problems: list[Problem] = []
    spec = _read_in(spec, base, problems)
    problems += _cross_check(spec)
    prices: dict[TierName, Price] = {}
    training: dict[TierName, Path] = {}
    for index, tier in enumerate(spec.tiers):
        try:
            if isinstance(tier, SklearnTier):
                training[TierName(tier.name)] = _training_file(tier, spec, base)
            elif not isinstance(tier, KeywordTier) or isinstance(tier.keywords, dict):
                prices[TierName(tier.name)] = price_tier(tier) or FREE
                if for_calls:
                    build_provider(tier, spec, prices[TierName(tier.name)], HttpClient(), None).check()
        except TierwiseError as error:
            problems.append(Problem(f"tiers[{index}]", error.message, error.fix))
    inputs: list[Path] = []
    try:
        inputs = await check_input(spec.input, base)
    except InputError as error:
        problems.append(Problem("input", error.message, error.fix))
    if problems:
        raise SpecError(source, problems)
    return Prepared(spec=spec, prices=prices, training=training, inputs=inputs)


async def create_job(
    services: Services, prepared: Prepared, job: JobId | None = None, limit: int | None = None
) -> Manifest:
    """Ingest, pin the manifest, open the accounts, enter the job. A crash before the last step leaves no job."""
    spec, ledger, storage = prepared.spec, services.ledger, services.storage
    job = job or new_job_id(spec.name)
    if not lake.JOB_ID.fullmatch(job):
        raise SpecError(
            "--job", [Problem("job", f"{job!r} is no job id", f"It must match {lake.JOB_ID.pattern}.")]
        )
    if await ledger.job(job) is not None:
        raise JobExists(job=job)
    await _check_account(services, spec)
    done = await ingest(storage, job, spec.input, prepared.inputs, limit, gold_of(spec.task))
    files = {}
    for tier, path in prepared.training.items():
        files[tier] = f"_jobs/{job}/files/{tier}{''.join(path.suffixes[-2:])}"
        await storage.write(files[tier], path.read_bytes())
    written = spec.model_dump(mode="json", by_alias=True)
    taxonomy = build_taxonomy(spec)
    pinned = Manifest(
        job=job,
        spec=written,
        spec_hash=hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16],
        prompt_hash=build_prompt(spec.task).hash,
        policy_version=build_policy(spec, taxonomy).version,
        prices=prepared.prices,
        files=files,
        account=AccountId(f"job/{job}"),
        created_at=services.clock(),
        queries=done.queries,
        rejected=done.rejected,
        batches=done.batches,
    )
    await storage.write(lake.manifest(job), manifest.encode(pinned))
    await _open_accounts(services, pinned, spec)
    if not await ledger.create_job(
        job, name=spec.name, account=pinned.account, batches=done.batches, now=services.clock()
    ):
        raise JobExists(job=job)
    return pinned


def new_job_id(name: str) -> JobId:
    return JobId(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")


async def _check_account(services: Services, spec: JobSpec) -> None:
    shared = spec.budget.account
    if shared is None or spec.budget.account_usd is not None:
        return
    if await services.ledger.account(AccountId(shared)) is None:
        problem = Problem("budget.account", f"account {shared!r} is new", "Give its cap: `account_usd: …`.")
        raise SpecError(spec.name, [problem])


async def _open_accounts(services: Services, pinned: Manifest, spec: JobSpec) -> None:
    parent = AccountId(spec.budget.account) if spec.budget.account else None
    if parent is not None and spec.budget.account_usd is not None:
        await services.ledger.open_account(parent, usd_to_nano(spec.budget.account_usd))
    await services.ledger.open_account(pinned.account, usd_to_nano(spec.budget.usd), parent)


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


def _cross_check(spec: JobSpec) -> list[Problem]:
    """What no single field can know."""
    problems = []
    names = [tier.name for tier in spec.tiers]
    if spec.quality is not None:
        fix = "Remove `quality`; set each tier's `accept` instead."
        problems.append(Problem("quality", "this version issues no certificates", fix))
    if (policy := spec.policy.split("@")[0]) not in POLICIES:
        problems.append(
            Problem("policy", f"{policy!r} is not known", f"Write one of: {', '.join(POLICIES)}.")
        )
    if not isinstance(spec.task, ClassifyTask):
        local = [tier.name for tier in spec.tiers if tier.provider in ("keyword", "similarity", "sklearn")]
        problems += [
            Problem(f"tiers.{name}", f"only classifies, the task is {spec.task.kind}", "Remove this tier.")
            for name in local
        ]
        if spec.input.too_long == "split_and_vote":
            fix = "Use reject, head or head_tail."
            problems.append(Problem("input.too_long", "split_and_vote needs a classify task", fix))
    else:
        problems += _check_labels(spec, spec.task)
    problems += _check_taxonomy(spec, names)
    return problems


def _check_labels(spec: JobSpec, task: ClassifyTask) -> list[Problem]:
    known = {label.name for label in task.labels}
    problems = []
    for index, tier in enumerate(spec.tiers):
        if isinstance(tier, KeywordTier) and isinstance(tier.keywords, dict):
            unknown = sorted(set(tier.keywords) - known)
            if unknown:
                fix = "Use the labels of the task."
                problems.append(
                    Problem(f"tiers[{index}].keywords", f"unknown labels: {', '.join(unknown)}", fix)
                )
        if tier.provider == "sklearn" and task.mode == "multi":
            problems.append(Problem(f"tiers[{index}]", "answers with a single label, the task is multi"))
    return problems


def _check_taxonomy(spec: JobSpec, names: list[str]) -> list[Problem]:
    use = spec.taxonomy
    if use is None:
        return []
    problems = []
    fix = f"Tiers: {', '.join(names)}."
    if use.slow_tier is not None and use.slow_tier not in names:
        problems.append(Problem("taxonomy.slow_tier", f"there is no tier {use.slow_tier!r}", fix))
    elif use.slow_tier is not None and spec.tier(use.slow_tier).provider not in ("openai", "bedrock"):
        problems.append(Problem("taxonomy.slow_tier", f"{use.slow_tier!r} is no language model", fix))
    if isinstance(use.tree, TaxonomySpec):
        from pipeline.taxonomy.tree import flatten

        for node in flatten(use.tree):
            unknown = sorted((node.allowed_tiers or frozenset()) - set(names))
            if unknown:
                problems.append(Problem(f"taxonomy.{node.path}", f"allows unknown tiers {unknown}", fix))
    return problems
