"""`tierwise quote`: a pilot of stated cost, and what can be certified for how much."""

import math
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.options import Budget, Json, Lake, Ledger, Spec, print_json, run_async, services_of, settings_of
from jobs.run import work_to_the_end
from pipeline.audit.ruling import read_ruling
from pipeline.certify.outcomes import Candidate
from pipeline.certify.quote import Offer, Quote
from pipeline.estimate import estimate
from pipeline.report.summary import Summary
from pipeline.submit.job import create_job, new_job_id
from pipeline.submit.spec import Prepared, read_spec
from pipeline.work import Services
from schemas.errors import Problem, SpecError, TierwiseError
from schemas.ids import Generation
from schemas.job import JobSpec, Quality
from schemas.money import format_usd, usd_to_nano

TARGET = 0.95  # where the spec asks for none
OUT_OF_REACH = 7


class NoPilot(TierwiseError):
    """The pilot of {job} could not be asked to its end: {why}."""

    exit_code = 3
    fix = "What it paid for is kept; raise --budget, or mend what is named, and quote again."


def command(
    spec: Spec,
    target: Annotated[
        float | None, typer.Option(help="Agreement asked for; default: the spec's, or .95.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="gold or a tier; default: the spec's, or the top tier.")
    ] = None,
    pilot: Annotated[int | None, typer.Option(help="Rows to ask at every tier; default 200.", min=10)] = None,
    budget: Budget = None,
    lake: Lake = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Ask a few rows of every tier and print the prices of certifiable quality. Exit code 7: the target is out of
    reach."""
    settings = settings_of(lake, ledger)
    given = {"target": target, "reference": reference, "pilot": pilot}
    prepared = run_async(read_spec(spec, budget, change=lambda said: _asked(said, given)))
    settings = settings.model_copy(update={"lake": lake or prepared.spec.output.lake or settings.lake})
    use = prepared.spec.quality
    assert use is not None
    if not as_json:
        typer.echo(_announced(prepared, use), err=True)

    async def ask() -> tuple[Quote, Summary]:
        async with services_of(settings) as services:
            job = new_job_id(f"quote-{prepared.spec.name}"[:40])
            pinned = await create_job(services, prepared, job, quoted=True)
            summary = await work_to_the_end(services, settings, job, pinned.queries, quiet=True)
            return await _read(services, summary), summary

    said, summary = run_async(ask())
    if as_json:
        print_json(
            {**_as_dict(said), "reference": use.reference, "pilot_usd": summary.cost_usd, "job": summary.job}
        )
    else:
        _print(Console(highlight=False, soft_wrap=True), said, use, summary)
    if said.wanted is None:
        raise typer.Exit(OUT_OF_REACH)


def _asked(spec: JobSpec, given: dict[str, Any]) -> JobSpec:
    """With the quality that is to be quoted."""
    stated = (
        spec.quality.model_dump() if spec.quality else {"target": TARGET, "reference": spec.tiers[-1].name}
    )
    stated["target"] = stated["target"] or TARGET
    said = {name: value for name, value in given.items() if value is not None}
    use = Quality.model_validate(stated | said)
    if not use.asks:
        fix = "Quote against gold or a tier: --reference NAME."
        why = "nobody's labels are known before the job"
        raise SpecError(spec.name, [Problem("quality.reference", why, fix)])
    return spec.model_copy(update={"quality": use})


def _announced(prepared: Prepared, use: Quality) -> str:
    cap = usd_to_nano(prepared.spec.budget.usd)
    cost = estimate(prepared, cap, limit=use.pilot).high
    return (
        f"Pilot: {use.pilot} rows at every tier, about {format_usd(cost)}, never more than {format_usd(cap)}."
    )


async def _read(services: Services, summary: Summary) -> Quote:
    ruling = await read_ruling(services.storage, summary.job, Generation(1))
    if ruling is None or ruling.quote is None:
        raise NoPilot(job=summary.job, why=ruling.reason if ruling else "it was stopped")
    return ruling.quote


def _print(console: Console, said: Quote, use: Quality, summary: Summary) -> None:
    table = Table("plan", title=f"{said.population:,} rows against {use.reference}", title_justify="left")
    for name in ("agreement", "90 % interval", "certifies", "job costs"):
        table.add_column(name, justify="right")
    for offer in _spaced(said):
        mark = "[bold]" if offer == said.wanted else ""
        cells = (
            plan_text(offer.candidate), f"{offer.agreement:.1%}", f"{offer.low:.1%} to {offer.high:.1%}",
            f"≥ {_floored(offer.certifiable)}", _usd(offer.cost),
        )  # fmt: skip
        table.add_row(*(mark + cell for cell in cells))
    console.print(table)
    console.print(
        f"The pilot cost ${summary.cost_usd:f}. Everything on the top tier, nothing audited: {_usd(said.top_cost)}."
    )
    console.print(verdict(said, use))
    if said.labels:
        console.print(_labels(said, use))


def _labels(said: Quote, use: Quality) -> Table:
    """What each label needs, beside the rows that the job asks the reference about anyway."""
    title = f"Each label ≥ {use.label_target:.1%}, by rows drawn of its own"
    table = Table("label", title=title, title_justify="left")
    for name in ("rows, about", "agreement", "draw"):
        table.add_column(name, justify="right")
    for each in said.labels:
        size = "out of reach" if each.drawn is None else f"{each.drawn:,} of {each.unknown:,}"
        table.add_row(escape(each.label), f"{each.rows:,}", f"{each.agreement:.1%} of {each.seen}", size)
    return table


def verdict(said: Quote, use: Quality) -> str:
    """One line for people: what the target costs, or why not and what would change that."""
    promise = f"{said.target:.1%} agreement with {use.reference} at confidence {use.confidence:.0%}"
    if said.wanted is None:
        return (
            f"{promise} is out of reach of an audit of {use.audit} rows: at most {_floored(said.best)} can be "
            "certified. Lower the target, draw a larger audit, or put a better tier on the ladder."
        )
    pays = (
        "the audit costs more than it saves whatever the size"
        if said.breaks_even is None
        else f"it pays from {said.breaks_even:,} rows on; below, ask the top tier for everything"
    )
    return (
        f"{promise} costs about {_usd(said.wanted.cost)}; of it {_usd(said.audit_cost)} for {said.drawn:,} drawn rows "
        f"beyond their own answers: {pays}."
    )


def _spaced(said: Quote, most: int = 12) -> list[Offer]:
    """The wanted offer and some of the others, in their order."""
    step = math.ceil(len(said.offers) / most)
    kept = [*said.offers[::step], said.offers[-1], *([said.wanted] if said.wanted else [])]
    return [offer for offer in said.offers if offer in kept]


def plan_text(plan: Candidate) -> str:
    """nano ≥ .90 > mini ≥ .80 > large; a tier that is asked and never believed alone stands without a bar."""
    *first, last = zip(plan.tiers, plan.accept, strict=True)
    stated = [f"{tier} ≥ {accept:.2f}" if accept <= 1 else str(tier) for tier, accept in first]
    return " > ".join([*stated, last[0]])


def _floored(share: float) -> str:
    return f"{math.floor(share * 1000) / 10:.1f} %"


def _usd(amount: float) -> str:
    return format_usd(round(amount * 10**9))


def _as_dict(said: Quote) -> dict[str, Any]:
    return msgspec.to_builtins(said)  # type: ignore[no-any-return]
