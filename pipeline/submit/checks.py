"""What no single field of a spec can know."""

from importlib.util import find_spec

from pipeline.router.policies import OPTIMISTIC
from pipeline.wiring.policies import (
    POLICIES,
)
from pipeline.wiring.tiers import (
    ENCODER,
    encoder_of,
)
from schemas.errors import Problem
from schemas.ids import TierName
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
    SelfConsistencyJudge,
    StudentJudge,
    StudentTier,
    Task,
)
from schemas.taxonomy import TaxonomySpec

LOCAL = ("keyword", "similarity", "sklearn", "student")


def cross_check(spec: JobSpec) -> list[Problem]:
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
