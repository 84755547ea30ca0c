"""Fit on some outcomes, run on others, compare: accuracy and cost of every method on one dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from pipeline.features.latent import LatentEncoder
from pipeline.replay.curves import Curve
from pipeline.replay.methods import ALL, BASELINES, fit_methods
from pipeline.replay.outcomes import Outcomes, coded_like
from pipeline.replay.splits import FOLDS, Split, clusters_of, fitted_elsewhere, fold_splits
from pipeline.router.calibration import Calibration, calibration
from pipeline.router.choosing import Fitted, prices
from pipeline.router.observed import Matrix, Observed, Rows, Tried
from pipeline.router.rules import Cascade, Rule
from pipeline.router.scorers import LearnedScorer
from schemas.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """One method: its operating point, means over repeats for each query, and its curve."""

    point: Tried
    curve: Curve
    models: str  # what the last fit asks, in order


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    dataset: str
    clusters: Rows  # [n] of equal texts
    repeats: int
    priced: bool
    singles: dict[str, Tried]  # every model alone
    best_single: str  # as seen in the fitting rows of the last fit
    reference: Tried  # the model that the target is a share of
    methods: dict[str, Played]
    chosen: str  # the policy Tierwise would run
    calibration: Calibration  # of the learned P(correct), over every model's answers
    own_calibration: Calibration | None  # of the models' own confidence on them; None: not all recorded

    @property
    def queries(self) -> int:
        return len(self.clusters)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tally:
    """What a method got, piled up over folds and repeats."""

    parts: list[list[tuple[Rows, Tried]]]  # at the operating point, then at each knob
    asked: list[tuple[int, ...]] = field(default_factory=list)


def replay(
    test: Outcomes,
    train: Outcomes | None,
    *,
    target: float,
    reference: str | None = None,
    policies: Sequence[str] = (),
    audit: int = 0,
    repeats: int = 1,
    seed: int = 0,
) -> Replayed:
    """Operating points at `target` times the accuracy of the reference: a model, or the best single one of each fit.

    With `train`, fitted there and run on the whole of `test`; without, five folds by text cluster, `repeats` times,
    each query judged by fits that did not see its cluster. With `audit`, so many rows of what is judged are asked of
    every model: their labels help to choose among fitted rules, our methods alone pay for them and see them, and on
    these rows the reference's answer stands. `policies`: live ones to run beside the methods.
    """
    test, train = _encoded(test, train)
    clusters = clusters_of(test.texts)
    fixed = None if reference is None else _number(test, reference)
    tally: dict[str, _Tally] = {}
    stated: list[tuple[Rows, Matrix]] = []
    best = 0
    for number, split in enumerate(_splits(test, train, clusters, audit, repeats, seed)):
        best = int(np.argmax(split.fitting.correct.mean(axis=0)))
        fitted = _fit(split.fitting, tuple(policies))
        _play(tally, fitted, test.observed, split, target, best if fixed is None else fixed)
        if number < (1 if train else FOLDS):
            scorer, rows = LearnedScorer(split.fitting), test.observed.take(split.rows)
            stated.append(
                (split.rows, np.column_stack([scorer.score(rows, model) for model in range(rows.models)]))
            )
    played = {name: _played(test, each) for name, each in tally.items()}
    if test.observed.category.max() < 1:
        del played["taxonomy"]  # one category, or none: it had nothing to route by
    return Replayed(
        dataset=test.dataset,
        clusters=clusters,
        repeats=1 if train and not audit else repeats,
        priced=test.priced,
        singles={name: Cascade((model,)).run(test.observed) for model, name in enumerate(test.models)},
        best_single=test.models[best],
        reference=played.pop("reference").point,
        methods=played,
        chosen=ALL,
        calibration=calibration(_stated(test.observed, stated).ravel(), test.observed.correct.ravel()),
        own_calibration=_own_calibration(test.observed),
    )


def _encoded(test: Outcomes, train: Outcomes | None) -> tuple[Outcomes, Outcomes | None]:
    """Features, by an encoder fitted on the fitting texts; on all where there are folds (no label is seen)."""
    if train is not None and train.models != test.models:
        raise InputError(
            path=test.dataset, why="the fitting outcomes are of other models", fix="Name --model."
        )
    encoder = LatentEncoder((train or test).texts)

    def encode(one: Outcomes) -> Outcomes:
        return replace(one, observed=replace(one.observed, features=encoder.encode(one.texts)))

    return encode(coded_like(test, train) if train else test), encode(train) if train else None


def _number(test: Outcomes, model: str) -> int:
    if model not in test.models:
        why = f"{model} is not among the models of {test.dataset}"
        raise InputError(path="--reference", why=why, fix=f"One of {', '.join(test.models)}.")
    return test.models.index(model)


def _splits(
    test: Outcomes, train: Outcomes | None, clusters: Rows, audit: int, repeats: int, seed: int
) -> Iterator[Split]:
    count = len(test.observed)
    for pass_ in range(repeats if audit or train is None else 1):
        if train is None:
            yield from fold_splits(test.observed, clusters, audit, seed + pass_)
        else:
            yield from fitted_elsewhere(train.observed, count, audit, seed + pass_)


@lru_cache(maxsize=1)
def _fit(rows: Observed, policies: tuple[str, ...]) -> dict[str, Fitted]:
    """Audits are drawn anew in each repeat; what was fitted elsewhere stays."""
    return fit_methods(rows, policies)


def _play(
    tally: dict[str, _Tally],
    methods: dict[str, Fitted],
    observed: Observed,
    split: Split,
    target: float,
    reference: int,
) -> None:
    rows = observed.take(split.rows)
    audited = rows.take(split.audited)
    single = Cascade((reference,))
    alone = single.run(rows)
    _add(tally, "reference", split.rows, single, [alone])
    for name, fitted in methods.items():
        pays = len(audited) > 0 and name not in BASELINES
        known = [split.fitting, audited] if pays else [split.fitting]
        judged = fitted.seen_on(audited) if pays else fitted
        right = np.concatenate([each.correct[:, reference] for each in known])
        number = judged.at_target(target, right)
        point = single if number is None else judged.rules[number]
        knobs = judged.at_prices(prices(split.fitting))
        runs = {knob: judged.rules[knob].run(rows) for knob in set(knobs)}
        tried = [point.run(rows), *(runs[knob] for knob in knobs)]
        if pays:
            tried = [_audited(run, rows, split.audited, reference) for run in tried]
        _add(tally, name, split.rows, point, [*tried, alone])  # every curve ends at the reference itself


def _add(tally: dict[str, _Tally], name: str, at: Rows, point: Rule, tried: Sequence[Tried]) -> None:
    """tried: at the operating point, then at each knob."""
    mine = tally.setdefault(name, _Tally(parts=[[] for _ in tried]))
    mine.asked.append(point.models)
    for parts, run in zip(mine.parts, tried, strict=True):
        parts.append((at, run))


def _audited(run: Tried, rows: Observed, at: Rows, reference: int) -> Tried:
    correct, cost, calls = run.correct.copy(), run.cost.copy(), run.calls.copy()
    correct[at] = rows.correct[at, reference]
    cost[at] = rows.cost[at].sum(axis=1)
    calls[at] = rows.models
    return Tried(correct=correct, cost=cost, calls=calls)


def _played(test: Outcomes, tally: _Tally) -> Played:
    point, *knobs = [_mean(parts, len(test.observed)) for parts in tally.parts]
    swept = knobs or [point]
    asked = tally.asked[-1]
    return Played(
        point=point,
        curve=Curve(
            correct=np.stack([each.correct for each in swept]), cost=np.stack([each.cost for each in swept])
        ),
        models=" -> ".join(test.models[model] for model in asked[:3]) + (" …" if len(asked) > 3 else ""),
    )


def _mean(parts: Sequence[tuple[Rows, Tried]], count: int) -> Tried:
    """[count] each query's mean over the repeats that judged it."""
    seen, correct, cost, calls = np.zeros((4, count))
    for rows, tried in parts:
        seen[rows] += 1
        correct[rows] += tried.correct
        cost[rows] += tried.cost
        calls[rows] += tried.calls
    return Tried(correct=correct / seen, cost=cost / seen, calls=calls / seen)


def _stated(observed: Observed, parts: Sequence[tuple[Rows, Matrix]]) -> Matrix:
    stated = np.zeros_like(observed.correct)
    for rows, each in parts:
        stated[rows] = each
    return stated


def _own_calibration(observed: Observed) -> Calibration | None:
    if np.isnan(observed.score).any():
        return None
    return calibration(observed.score.ravel(), observed.correct.ravel())
