"""From a spec file to a job that is ready to run. Whatever is wrong is said before the first call."""

import asyncio
import hashlib
import io
import json
import secrets
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import yaml

from pipeline.accepted import read_accepted
from pipeline.answered import Answered
from pipeline.certify.draw import Draw
from pipeline.combiner import pick_combiner
from pipeline.drawn import write_drawn
from pipeline.forecast import Documents, forecast
from pipeline.ingest import Ingested, check_input, ingest, write_audit_batch
from pipeline.learning.learner import policy_name, scope_of
from pipeline.learning.store import read_versions
from pipeline.periods import group_of, periods_at
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.router.policies import OPTIMISTIC, SCORINGS
from pipeline.ruling import write_stated_ruling
from pipeline.student import pick_judge, pick_students
from pipeline.task.gold import gold_of
from pipeline.task.parse import parser_of
from pipeline.task.prompt import build_prompt
from pipeline.webhook import secret_of
from pipeline.wiring.policies import (
    POLICIES,
    build_features,
    build_policy,
    build_taxonomy,
)
from pipeline.wiring.tiers import (
    ENCODER,
    build_embeddings,
    build_provider,
    encoder_of,
    price_encoder,
    price_tier,
    read_training,
)
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import BadSecret, InputError, JobExists, Problem, SpecError, TierwiseError
from schemas.ids import AccountId, BatchIndex, Generation, JobId, Nano, TierName
from schemas.job import (
    AnswerTask,
    ClassifyTask,
    EndpointEncoder,
    ExtractTask,
    JobSpec,
    KeywordTier,
    PayingJudgeBase,
    PlainJudge,
    Quality,
    RecordedTier,
    SelfConsistencyJudge,
    SklearnTier,
    StudentJudge,
    StudentTier,
    Task,
)
from schemas.loading import load_model, load_spec
from schemas.manifest import Manifest
from schemas.money import FREE, Price, usd_to_nano
from schemas.records import Completion, Query
from schemas.taxonomy import TaxonomySpec

DOCUMENTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # what is taken for a spec by mistake
MOST_PAST = 10_000  # answers that a job looks back at: compared with each of its documents
LOCAL = ("keyword", "similarity", "sklearn", "student")
DAY_MS = 86_400_000
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
    problems += _cross_check(spec)
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


async def create_job(
    services: Services,
    prepared: Prepared,
    job: JobId | None = None,
    limit: int | None = None,
    *,
    quoted: bool = False,
    scheduled: manifest.Scheduled | None = None,
) -> Manifest:
    """Ingest, pin the manifest, open the accounts, enter the job. A crash before the last step leaves no job.
    `quoted`: its pilot alone is asked, for the price of the rest."""
    spec, ledger, storage = prepared.spec, services.ledger, services.storage
    job = job or new_job_id(spec.name)
    if not lake.JOB_ID.fullmatch(job):
        raise SpecError(
            "--job", [Problem("job", f"{job!r} is no job id", f"It must match {lake.JOB_ID.pattern}.")]
        )
    if await ledger.job(job) is not None:
        raise JobExists(job=job)
    await _check_account(services, spec)
    key, use = new_draw_key(), spec.quality
    drawn = (use.fitted, 0 if quoted else use.audit) if use else (0, 0)
    draw = Draw[Query](key, *drawn)
    prompt_hash = build_prompt(spec.task).hash
    async with _answered(storage, spec, scheduled, prompt_hash) as answered:
        done = await ingest(
            storage,
            job,
            spec.input,
            prepared.inputs,
            limit,
            gold_of(spec.task),
            lambda query: draw.offer(query.query_id, query),
            answered,
        )
    batches = done.batches
    if use is not None:
        _check_gold(spec, draw)
        await write_drawn(storage, job, draw)
    if use is not None and use.asks:
        for _ in range(1 if use.per_label is None or quoted else 2):
            await write_audit_batch(storage, job, Generation(1), BatchIndex(batches))
            batches += 1
    files, aside = await pick_students(storage, spec, prompt_hash)
    for tier, path in prepared.training.items():
        files[tier] = f"_jobs/{job}/files/{tier}{''.join(path.suffixes[-2:])}"
        await storage.write(files[tier], path.read_bytes())
    written = spec.model_dump(mode="json", by_alias=True)
    policy_version = await _policy_version(storage, spec.without(aside), prepared.prices, prompt_hash)
    pinned = Manifest(
        job=job,
        spec=written,
        spec_hash=hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16],
        prompt_hash=prompt_hash,
        policy_version=policy_version,
        prices=prepared.prices,
        files=files,
        aside=aside | above_reference(spec),
        draw=_drawn(spec, aside, key, draw, quoted) if use else None,
        student=await pick_judge(storage, spec, prompt_hash),
        combiner=await pick_combiner(storage, spec, prompt_hash),
        reuse_since=await _reuse_since(services, spec),
        past=await _pin_past(storage, job, spec, prompt_hash),
        forecast=await _forecast(storage, prepared, prompt_hash, job, done),
        scheduled=scheduled,
        incremental=done.incremental,
        account=AccountId(f"job/{job}"),
        created_at=services.clock(),
        queries=done.queries,
        rejected=done.rejected,
        batches=batches,
    )
    await storage.write(lake.manifest(job), manifest.encode(pinned))
    if use is not None and not use.asks:
        await write_stated_ruling(storage, pinned)
    await _open_accounts(services, pinned, spec)
    if not await ledger.create_job(
        job, name=spec.name, account=pinned.account, batches=batches, now=services.clock()
    ):
        raise JobExists(job=job)
    return pinned


@asynccontextmanager
async def _answered(
    storage: Storage, spec: JobSpec, scheduled: manifest.Scheduled | None, prompt_hash: str
) -> AsyncIterator[Answered | None]:
    """What earlier jobs of the schedule have answered, where that is to be left out."""
    if scheduled is None or spec.schedule is None or not spec.schedule.incremental:
        yield None
        return
    answered = await asyncio.to_thread(Answered, storage, scheduled.schedule, prompt_hash)
    try:
        yield answered
    finally:
        answered.close()


async def _reuse_since(services: Services, spec: JobSpec) -> int | None:
    """None where nothing can be found: looking would cost each call its share. And with a certificate, which is
    about what the plan's tiers answer, not about what another job was once answered."""
    use = spec.history
    if use.reuse == "none" or spec.promise is not None or not await services.ledger.jobs():
        return None
    return 0 if use.max_age_days is None else services.clock() - int(use.max_age_days * DAY_MS)


async def _forecast(
    storage: Storage, prepared: Prepared, prompt_hash: str, job: JobId, done: Ingested
) -> tuple[Nano, Nano] | None:
    """Of the bill; said here, so that the report can say whether it held."""
    first = await storage.read(lake.batch_file(job, Generation(1), BatchIndex(0)))
    sample = pq.read_table(io.BytesIO(first), columns=["text"])["text"].to_pylist()
    documents = Documents(count=done.queries - done.rejected, bytes=done.bytes, sample=sample)
    said = await asyncio.to_thread(forecast, storage, prepared.spec, prepared.prices, prompt_hash, documents)
    return None if said is None else (said.low, said.high)


async def _pin_past(storage: Storage, job: JobId, spec: JobSpec, prompt_hash: str) -> str | None:
    """What this job looks back at, the same for whoever works on it and however often."""
    if not spec.history.looks_back:
        return None
    rows = await asyncio.to_thread(read_accepted, storage, prompt_hash, MOST_PAST)
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    await storage.write(lake.past(job), sink.getvalue())
    return lake.past(job)


async def _policy_version(
    storage: Storage, spec: JobSpec, prices: Mapping[TierName, Price], prompt_hash: str
) -> str:
    """The version itself where the spec names one or the policy learns nothing, else the policy's name: each batch
    is routed by the version that stands when it begins."""
    taxonomy = build_taxonomy(spec)
    if spec.policy.kind not in SCORINGS:
        return build_policy(spec, taxonomy, prices).version
    name = policy_name(spec.policy.kind, scope_of(prompt_hash, build_features(taxonomy, spec.policy.encoder)))
    if spec.policy.version is None:
        return name
    known = [each.version for each in await read_versions(storage, name)]
    if spec.policy.version not in known:
        fix = f"Write one of {', '.join(known)}, or {spec.policy.kind} alone." if known else "Leave it out."
        problem = Problem("policy", f"{name} has no version {spec.policy.version!r}", fix)
        raise SpecError(spec.name, [problem])
    return f"{name}@{spec.policy.version}"


def new_draw_key() -> bytes:
    """Who knew it before could write rows that are drawn, or are not."""
    return secrets.token_bytes(16)


def new_job_id(name: str) -> JobId:
    return JobId(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")


async def _check_account(services: Services, spec: JobSpec) -> None:
    shared = spec.budget.account
    if shared is None or spec.budget.account_usd is not None or spec.budget.per is not None:
        return
    if await services.ledger.account(AccountId(shared)) is None:
        problem = Problem("budget.account", f"account {shared!r} is new", "Give its cap: `account_usd: …`.")
        raise SpecError(spec.name, [problem])


async def _open_accounts(services: Services, pinned: Manifest, spec: JobSpec) -> None:
    """An account keeps its cap and its parents: what an interrupted submit of this job id left must be the same."""
    ledger, cap = services.ledger, usd_to_nano(spec.budget.usd)
    parents = await _open_parents(services, pinned.scheduled, spec)
    await ledger.open_account(pinned.account, cap, *parents)
    opened = await ledger.account(pinned.account)
    if opened is None or (opened.cap, opened.parents) != (cap, parents):
        why = f"{pinned.job!r} was begun before with another budget or shared account"
        raise SpecError("--job", [Problem("job", why, "Give another --job.")])


async def _open_parents(
    services: Services, scheduled: manifest.Scheduled | None, spec: JobSpec
) -> tuple[AccountId, ...]:
    """An occurrence that is submitted again counts to the periods it counted to before."""
    ledger, budget = services.ledger, spec.budget
    at = scheduled.seen_at if scheduled else services.clock()
    group = group_of(spec, scheduled.schedule if scheduled else None)
    if budget.per is not None:
        periods = periods_at(spec, group, at)
        for each in periods:
            await ledger.open_period(each.account, each.cap, each.carry)
        return tuple(each.account for each in periods)
    if budget.account is None:
        return ()
    if budget.account_usd is not None:
        await ledger.open_account(AccountId(budget.account), usd_to_nano(budget.account_usd))
    return (AccountId(budget.account),)


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


def _cross_check(spec: JobSpec) -> list[Problem]:
    """What no single field can know."""
    problems = []
    names = [tier.name for tier in spec.tiers]
    problems += _check_quality(spec, names)
    if spec.policy.kind not in POLICIES:
        fix = f"Write one of: {', '.join(POLICIES)}."
        problems.append(Problem("policy", f"{spec.policy.kind!r} is not known", fix))
    elif spec.policy.encoder == "minilm" and find_spec("sentence_transformers") is None:
        fix = "pip install 'tierwise[minilm]'"
        problems.append(Problem("policy.encoder", "minilm needs a package that is not installed", fix))
    elif spec.policy.alpha is not None and spec.policy.kind not in OPTIMISTIC:
        fix = f"Remove it; {' and '.join(OPTIMISTIC)} know it."
        problems.append(Problem("policy.alpha", f"{spec.policy.kind} has none", fix))
    if not isinstance(spec.task, ClassifyTask):
        if spec.history.near_duplicates is not None:
            why = "two documents that differ in one amount are near-duplicates, with other answers"
            fix = "Remove it, or use a classify task."
            problems.append(Problem("history.near_duplicates", why, fix))
        local = [tier.name for tier in spec.tiers if tier.provider in LOCAL]
        problems += [
            Problem(f"tiers.{name}", f"only classifies, the task is {spec.task.kind}", "Remove this tier.")
            for name in local
        ]
        if spec.input.too_long == "split_and_vote":
            fix = "Use reject, head or head_tail."
            problems.append(Problem("input.too_long", "split_and_vote needs a classify task", fix))
    else:
        problems += _check_labels(spec, spec.task)
    problems += _check_encoder(spec, names)
    problems += _check_students(spec)
    problems += _check_judges(spec)
    problems += _check_taxonomy(spec, names)
    if spec.schedule is not None and spec.schedule.incremental and spec.input.id is None:
        why = "a row's number does not tell which document it is"
        problems.append(Problem("schedule.incremental", why, "Name the column with the id in `input.id`."))
    if (spec.budget.account or "").startswith("job/"):
        fix = "Name a shared account, such as team/2026-11."
        problems.append(Problem("budget.account", "job/… are the jobs' own accounts", fix))
    return problems


def _check_quality(spec: JobSpec, names: list[str]) -> list[Problem]:
    """Answers are compared with a reference that has one for each row."""
    use = spec.quality
    if use is None:
        return []
    problems = []
    problems += _check_agreement(use, spec, names)
    if use.reference == "gold":
        if spec.input.gold is None:
            fix = f"Name it in `input.gold`, or take a tier as reference: {', '.join(names)}."
            problems.append(Problem("quality.reference", "the input names no gold column", fix))
    elif not use.asks:
        problems += _check_people(use, names)
    elif use.reference not in names:
        fix = f"Write gold, human, or one of {', '.join(names)}."
        problems.append(Problem("quality.reference", f"there is no tier {use.reference!r}", fix))
    elif isinstance(spec.tier(use.reference), StudentTier):
        fix = "Take the tier it learns from."
        problems.append(Problem("quality.reference", "a student repeats what it was taught", fix))
    problems += _check_per_label(use, spec)
    return problems if use.target is None else problems + _check_promise(use, spec, names)


def _check_agreement(use: Quality, spec: JobSpec, names: list[str]) -> list[Problem]:
    """In free text a judge tells which answers agree; elsewhere their words do."""
    free = _is_free_text(spec.task)
    if use.judge is None:
        why = "free text agrees with nothing word for word"
        fix = f"Name the tier that tells which answers say the same, as in `judge: {names[-1]}`; or give `choices`."
        return [Problem("quality.judge", why, fix)] if free else []
    if not free:
        why = "labels, choices and objects agree where they are equal"
        return [Problem("quality.judge", why, "Remove it.")]
    problems = []
    asked = names[: names.index(use.reference) + 1] if use.target and use.reference in names else names
    fix = f"Take one of {', '.join(asked)}."
    if use.judge.tier not in names:
        problems.append(Problem("quality.judge.tier", f"there is no tier {use.judge.tier!r}", fix))
    elif use.judge.tier not in asked:
        why = f"{use.judge.tier} is above the reference and not asked under `quality`"
        problems.append(Problem("quality.judge.tier", why, fix))
    elif spec.tier(use.judge.tier).provider not in ("openai", "bedrock"):
        problems.append(Problem("quality.judge.tier", f"{use.judge.tier!r} is no language model", fix))
    if not use.asks:
        why = "a judge has not read what people wrote when the job ends"
        problems.append(Problem("quality.reference", why, "Take gold or a tier."))
    if spec.policy.kind != "fixed-ladder":
        fix = "Remove `policy`: in free text rewards would grade by equal words."
        problems.append(Problem("policy", f"{spec.policy.kind} learns from the audit", fix))
    return problems


def _check_per_label(use: Quality, spec: JobSpec) -> list[Problem]:
    if use.per_label is None:
        return []
    problems = []
    if isinstance(spec.task, ExtractTask) or _is_free_text(spec.task):
        why = "the task has no labels or choices"
        problems.append(Problem("quality.per_label", why, "Remove it."))
    if not use.asks:
        fix = "Remove it, or take gold or a tier as reference."
        problems.append(Problem("quality.per_label", "people label rows drawn from all, not by label", fix))
    return problems


def _check_people(use: Quality, names: list[str]) -> list[Problem]:
    problems = []
    if use.reference in names:
        why = "stands for people, and a tier has that name"
        problems.append(Problem("quality.reference", why, "Rename the tier."))
    if use.target is None:
        why = "people label the drawn rows for a certificate, after the job"
        fix = "Give a target, or measure against gold or a tier."
        problems.append(Problem("quality.target", why, fix))
    return problems


def _check_promise(use: Quality, spec: JobSpec, names: list[str]) -> list[Problem]:
    """A certificate names one plan."""
    problems = []
    if spec.policy.kind != "fixed-ladder":
        fix = "Remove `policy`: the certificate's plan takes its place."
        fix += " Or remove the target, to measure only." if use.asks else ""
        problems.append(Problem("policy", f"{spec.policy.kind} would leave the certified plan", fix))
    if spec.history.near_duplicates is not None:
        fix = "Remove one of the two."
        why = "a copied answer is not given under the certified plan"
        problems.append(Problem("history.near_duplicates", why, fix))
    if use.reference == names[0]:
        why = "is the first tier: no plan is cheaper than the reference itself"
        fix = "Put cheaper tiers before it, or remove `quality`."
        problems.append(Problem("quality.reference", why, fix))
    slow = spec.taxonomy.slow_tier if spec.taxonomy else None
    if slow is not None and TierName(slow) in above_reference(spec):
        why = f"{slow} is above the reference and not asked under `quality`"
        fix = f"Take a tier up to {use.reference}."
        problems.append(Problem("taxonomy.slow_tier", why, fix))
    return problems + (_check_judges_under(use, spec, names) if use.asks else [])


def _check_judges_under(use: Quality, spec: JobSpec, names: list[str]) -> list[Problem]:
    """The plan is found by what judges say of each answer, so they must say it whatever the plan."""
    problems = []
    asked = names[: names.index(use.reference) + 1] if use.reference in names else names
    for judge in spec.judges:
        if not isinstance(judge, PayingJudgeBase):
            continue
        if judge.band is not None:
            why = "with a band, whether it is asked hangs on the threshold that the audit is to find"
            problems.append(
                Problem(f"judges.{judge.name}.band", why, "Write `band: null`, or remove the judge.")
            )
        if judge.tier in names and judge.tier not in asked:
            why = f"asks {judge.tier}, which is above the reference and not asked under `quality`"
            problems.append(Problem(f"judges.{judge.name}.tier", why, f"Take one of {', '.join(asked)}."))
    return problems


def _check_gold(spec: JobSpec, draw: Draw[Query]) -> None:
    """Raises SpecError where gold is the reference and drawn rows have none."""
    drawn = [query for query in [*draw.pilot, *draw.audit] if query.rejected is None]
    without = sum(query.gold is None for query in drawn)
    if spec.quality is not None and spec.quality.reference == "gold" and without:
        why = f"{without} of the {len(drawn)} rows drawn have no gold"
        fix = "Label every row, or take a tier as reference."
        raise SpecError(spec.name, [Problem("quality.reference", why, fix)])


def _drawn(
    spec: JobSpec, aside: Container[str], key: bytes, draw: Draw[Query], quoted: bool
) -> manifest.Draw:
    """Where the reference stands above one tier, thresholds are nested and need no pilot: its rows are audited too."""
    pilot, audit = len(draw.pilot), len(draw.audit)
    asked = [tier.name for tier in spec.without(aside).without(above_reference(spec)).tiers]
    if audit and spec.promise is not None and len(asked) <= 2 and asked[-1] == spec.promise.reference:
        pilot, audit = 0, pilot + audit
    use, per_label = spec.quality, None
    if use is not None and use.per_label is not None and not quoted:
        per_label = 0 if use.reference == "gold" else use.per_label.audit  # gold is there or nobody knows it
    return manifest.Draw(key=key.hex(), pilot=pilot, audit=audit, per_label=per_label)


def above_reference(spec: JobSpec) -> dict[TierName, str]:
    """Tiers dearer than what the answers are held against."""
    names = [TierName(tier.name) for tier in spec.tiers]
    use = spec.promise
    if use is None or use.reference not in names:
        return {}
    above = names[names.index(TierName(use.reference)) + 1 :]
    return dict.fromkeys(above, f"it is above the reference, {use.reference}")


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
        if tier.provider in ("sklearn", "student") and task.mode == "multi":
            problems.append(Problem(f"tiers[{index}]", "answers with a single label, the task is multi"))
    return problems


def _check_encoder(spec: JobSpec, names: list[str]) -> list[Problem]:
    if not isinstance(spec.policy.encoder, EndpointEncoder):
        return []
    if spec.policy.kind == "fixed-ladder":
        return [
            Problem("policy.encoder", "fixed-ladder sees no text", "Remove it, or name a policy that learns.")
        ]
    if ENCODER in names:
        why = f"a tier has the name that the encoder's endpoint goes by, {ENCODER!r}"
        return [Problem("policy.encoder", why, "Rename the tier.")]
    return []


def _check_students(spec: JobSpec) -> list[Problem]:
    """It is the cheapest, and has nobody to learn from but the tiers above it."""
    problems = []
    for index, tier in enumerate(spec.tiers):
        if not isinstance(tier, StudentTier):
            continue
        if any(below.provider not in LOCAL for below in spec.tiers[:index]):
            fix = "Put it before the tiers that cost money."
            problems.append(Problem(f"tiers[{index}]", "a student is the cheapest tier", fix))
        if all(isinstance(above, StudentTier) for above in spec.tiers[index + 1 :]):
            fix = "Put the tiers it learns from after it."
            problems.append(Problem(f"tiers[{index}]", "a student has nobody to learn from", fix))
    return problems


def _check_judges(spec: JobSpec) -> list[Problem]:
    problems = []
    names = [tier.name for tier in spec.tiers]
    single = isinstance(spec.task, ClassifyTask) and spec.task.mode != "multi"
    for index, judge in enumerate(spec.judges):
        place = f"judges[{index}]"
        if isinstance(judge, StudentJudge):
            if any(isinstance(tier, StudentTier) for tier in spec.tiers):
                fix = "Keep the tier or the judge."
                problems.append(Problem(place, "a student is a tier or a judge, never both", fix))
            if not single:
                problems.append(Problem(place, "a student knows single labels alone", "Remove this judge."))
        elif isinstance(judge, PlainJudge):
            continue
        elif judge.tier not in names:
            fix = f"Tiers: {', '.join(names)}."
            problems.append(Problem(f"{place}.tier", f"there is no tier {judge.tier!r}", fix))
        elif spec.tier(judge.tier).provider not in ("openai", "bedrock"):
            problems.append(Problem(f"{place}.tier", f"{judge.tier!r} is no language model"))
        if isinstance(judge, SelfConsistencyJudge) and _is_free_text(spec.task):
            fix = "Give the task `choices`, or use model-graded."
            problems.append(Problem(place, "no two answers in free text are equal", fix))
    return problems


def _is_free_text(task: Task) -> bool:
    return isinstance(task, AnswerTask) and task.choices is None


def _check_taxonomy(spec: JobSpec, names: list[str]) -> list[Problem]:
    use = spec.taxonomy
    if use is None:
        return []
    problems = []
    fix = f"Tiers: {', '.join(names)}."
    known = {*names, ENCODER} if encoder_of(spec) else set(names)
    if use.slow_tier is not None and use.slow_tier not in names:
        problems.append(Problem("taxonomy.slow_tier", f"there is no tier {use.slow_tier!r}", fix))
    elif use.slow_tier is not None and spec.tier(use.slow_tier).provider not in ("openai", "bedrock"):
        problems.append(Problem("taxonomy.slow_tier", f"{use.slow_tier!r} is no language model", fix))
    if isinstance(use.tree, TaxonomySpec):
        from pipeline.taxonomy.tree import flatten

        for node in flatten(use.tree):
            unknown = sorted((node.allowed_tiers or frozenset()) - known)
            if unknown:
                problems.append(Problem(f"taxonomy.{node.path}", f"allows unknown tiers {unknown}", fix))
    return problems
