"""Judges by their names in the spec."""

from collections.abc import Mapping, Sequence

from pipeline.cascade.bench import Judging
from pipeline.cascade.combine import Combiner
from pipeline.cascade.judges.agreement import Agreement
from pipeline.cascade.judges.confidence import Confidence
from pipeline.cascade.judges.model_graded import ModelGraded
from pipeline.cascade.judges.same_answer import SameAnswer
from pipeline.cascade.judges.self_consistency import SelfConsistency
from pipeline.cascade.judges.student import StudentJudge
from pipeline.cascade.judges.valid import Valid
from pipeline.ports.judge import Judge, PayingJudge
from pipeline.task.parse import parser_of
from pipeline.task.prompt import JobPrompt
from schemas import job
from schemas.ids import TierName
from schemas.job import JobSpec, ModelGradedJudge, OpenAITier, SelfConsistencyJudge

PLAIN: Mapping[str, type[Judge]] = {"valid": Valid, "confidence": Confidence, "agreement": Agreement}


def build_judging(spec: JobSpec, prompt: JobPrompt, combiner: Combiner, student: bytes | None) -> Judging:
    """`student`: what the one that judges has learned; None: nothing yet."""
    return Judging(judges=_build_free(spec, student), paying=build_paying(spec, prompt), combiner=combiner)


def _build_free(spec: JobSpec, student: bytes | None) -> list[Judge]:
    judges: list[Judge] = []
    for each in spec.judges:
        if each.name in PLAIN:
            judges.append(PLAIN[each.name]())
        elif isinstance(each, job.StudentJudge):
            judges.append(_build_student(each, student))
    return judges


def _build_student(use: job.StudentJudge, learned: bytes | None) -> StudentJudge:
    if learned is None:
        return StudentJudge(None)
    from pipeline.providers.student import StudentTier, decode

    student = decode(learned)
    return StudentJudge(StudentTier(student, kept_from=use.kept_from).chance, student.version)


def build_paying(spec: JobSpec, prompt: JobPrompt) -> Sequence[PayingJudge]:
    """Those that ask tiers, in the spec's order."""
    judges: list[PayingJudge] = []
    for each in spec.judges:
        match each:
            case SelfConsistencyJudge():
                judges.append(_self_consistency(spec, prompt, each))
            case ModelGradedJudge():
                judges.append(_model_graded(spec, prompt, each))
    return judges


def build_agreement(spec: JobSpec, prompt: JobPrompt) -> SameAnswer | None:
    """What tells which answers agree with the reference, where that is not their words."""
    use = spec.quality.judge if spec.quality else None
    if use is None:
        return None
    return SameAnswer(
        TierName(use.tier),
        prompt.system,
        prompt=use.prompt,
        order=use.order,
        answer_chars=use.answer_chars,
        max_output_tokens=spec.tier(use.tier).max_output_tokens,
    )


def _self_consistency(spec: JobSpec, prompt: JobPrompt, use: SelfConsistencyJudge) -> SelfConsistency:
    return SelfConsistency(
        TierName(use.tier),
        prompt,
        parser_of(spec.task),
        samples=use.samples,
        temperature=use.temperature,
        band=use.band,
        max_output_tokens=spec.tier(use.tier).max_output_tokens,
    )


def _model_graded(spec: JobSpec, prompt: JobPrompt, use: ModelGradedJudge) -> ModelGraded:
    tier = spec.tier(use.tier)
    return ModelGraded(
        TierName(use.tier),
        prompt.system,
        prompt=use.prompt,
        order=use.order,
        answer_chars=use.answer_chars,
        longest=prompt.max_output_tokens * 4,
        band=use.band,
        logprobs=isinstance(tier, OpenAITier) and tier.logprobs,
        max_output_tokens=tier.max_output_tokens,
    )
