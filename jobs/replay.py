"""`tierwise replay`: policies against recorded outcomes, or a closed job decided again; offline. Spends nothing."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.options import Json, Lake, print_json
from jobs.whatif import replay_job
from pipeline.replay.categories import categorised
from pipeline.replay.figures import figures
from pipeline.replay.outcomes import Lengths, Outcomes, read_outcomes, read_prices
from pipeline.replay.plot import plot as drawn
from pipeline.replay.replay import replay
from pipeline.router.policies import SCORINGS
from schemas.errors import InputError

Names = Annotated[list[str] | None, typer.Option("--model", help="Only this model; give it once for each.")]
Datasets = Annotated[list[str] | None, typer.Option("--dataset", help="Only this dataset; may be repeated.")]


def command(
    what: Annotated[
        str, typer.Argument(metavar="OUTCOMES.parquet|JOB", help="A file of outcomes, or a closed job.")
    ],
    fit: Annotated[
        Path | None,
        typer.Option(help="Outcomes to fit on; default: five folds of OUTCOMES itself.", exists=True),
    ] = None,
    target: Annotated[
        float, typer.Option(help="Share of the best single model's accuracy to reach.", min=0.5, max=1.5)
    ] = 0.99,
    reference: Annotated[
        str | None, typer.Option(help="The target is a share of this model's accuracy instead.")
    ] = None,
    audit: Annotated[
        int, typer.Option(help="Rows of OUTCOMES asked of every model, paid for, used to choose.", min=0)
    ] = 0,
    model: Names = None,
    dataset: Datasets = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Run this live policy as well ({', '.join(SCORINGS)}); may be repeated. "
            "Of a job: what routes it instead, NAME or NAME@VERSION."
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TIER=P", help="Of a job: believe this tier from P(correct) on; may be repeated."
        ),
    ] = None,
    tiers: Annotated[
        str | None, typer.Option(metavar="A,B", help="Of a job: ask only these tiers, in this order.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Of a job: changed answers shown.", min=0)] = 20,
    lake: Lake = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="Tree (YAML) that says each query's category.", exists=True)
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="CSV (model, input, output) where no cost was recorded.", exists=True)
    ] = None,
    prompt_tokens: Annotated[
        int, typer.Option(help="Tokens around each text, where none are recorded.")
    ] = 200,
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer, where none are recorded.")] = 10,
    repeats: Annotated[int, typer.Option(help="Repeats of the five folds, or of the audit.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Of the folds and the audit.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="SVG file of accuracy against cost to write.")] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Print how true the learned P(correct) is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every method on recorded outcomes: accuracy, cost and calls, beside single models and baselines. Or decide a
    closed job again, from the answers it paid for, under other thresholds, tiers or another policy."""
    outcomes = Path(what)
    if not outcomes.is_file():
        if outcomes.suffix or outcomes.is_dir():
            raise InputError(
                path=what, why="there is no such file", fix="Give a file of outcomes, or a job's id."
            )
        replay_job(
            what,
            accept=accept or (),
            tiers=tiers,
            policy=policy or (),
            limit=limit,
            lake=lake,
            as_json=as_json,
        )
        return
    if accept or tiers:
        raise typer.BadParameter("--accept and --tiers are for a job, not for a file of outcomes")
    if unknown := [name for name in policy or () if name not in SCORINGS]:
        why, fix = f"{unknown[0]!r} is no policy that learns", f"One of {', '.join(SCORINGS)}."
        raise InputError(path="--policy", why=why, fix=fix)
    listed = read_prices(prices) if prices else None
    lengths = Lengths(prompt=prompt_tokens, output=output_tokens)

    def read(path: Path) -> list[Outcomes]:
        found = read_outcomes(
            path, models=model or (), datasets=dataset or (), prices=listed, lengths=lengths
        )
        return [categorised(one, taxonomy) for one in found] if taxonomy else found

    training = {each.dataset: each for each in read(fit)} if fit else {}
    done = []
    for each in read(outcomes):
        if fit and each.dataset not in training:
            raise InputError(path=str(fit), why=f"it has no dataset {each.dataset}")
        train = training.get(each.dataset)
        done.append(
            replay(
                each,
                train,
                target=target,
                reference=reference,
                policies=policy or (),
                audit=audit,
                repeats=repeats,
                seed=seed,
            )
        )
    if plot:
        plot.write_text(drawn(done), encoding="utf-8")
    said = {one.dataset: figures(one, target) for one in done}
    if as_json:
        print_json(said)
        return
    for one in done:
        _print(one.dataset, said[one.dataset], one.repeats)
        if calibration:
            _print_calibration(said[one.dataset]["calibration"], said[one.dataset]["own_confidence"])


def _print(dataset: str, said: dict[str, Any], repeats: int) -> None:
    how = f"{repeats} repeats" if repeats > 1 else "one pass"
    table = Table(title=f"{dataset}: {said['queries']:,} queries, {how}", title_justify="left")
    table.add_column("method", overflow="fold")
    for name in ("right", "of ref.", "$/1,000", "cheaper", "curve", "calls"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("asks (last fit)", overflow="fold")
    for name, one in sorted(said["singles"].items(), key=lambda item: item[1]["cost_per_query_usd"]):
        table.add_row(*_cells(name, one))
    table.add_section()
    table.add_row(*_cells("reference", said["reference"]))
    for name, one in said["policies"].items():
        table.add_row(*_cells(name, one), style="bold" if name == said["chosen"] else None)
    console = Console()
    console.print(table)
    price = (
        "costs from the price list and stated lengths" if said["priced_from_list"] else "costs as recorded"
    )
    sure = ", ".join(f"{name} {share:.2f}" for name, share in said["chosen_above"].items())
    fused = said["fusion_gain"]
    console.print(
        f"Target {said['target']:.0%} of the reference; curve: times cheaper there with the knob set in hindsight. "
        f"Chosen: {said['chosen']}; {price}.\n"
        f"P(its curve is cheaper at the baseline's own accuracy): {sure}. Fusion at the cascade's cost: "
        f"{100 * fused['accuracy']:+.1f} points ({100 * fused['low']:+.1f} to {100 * fused['high']:+.1f}).\n",
        highlight=False,
    )


def _cells(name: str, one: dict[str, Any]) -> list[str]:
    curve = one.get("curve_times_cheaper_at_target")
    return [
        name, f"{one['accuracy']:.3f}", f"{one['fraction_of_reference']:.3f}",
        f"{one['cost_per_query_usd'] * 1000:.4f}", f"{one['times_cheaper']:.2f}×",
        f"{curve:.2f}×" if curve else "", f"{one['calls_per_query']:.2f}", one.get("asks", ""),
    ]  # fmt: skip


def _print_calibration(said: dict[str, Any], own: dict[str, Any] | None) -> None:
    table = Table(title="P(correct) as stated, and as it was", title_justify="left")
    for name in ("answers", "mean stated", "right"):
        table.add_column(name, justify="right")
    for each in said["reliability"]:
        table.add_row(f"{each['answers']:,}", f"{each['stated']:.3f}", f"{each['right']:.3f}")
    console = Console()
    console.print(table)
    beside = "no confidence was recorded" if own is None else f"the models' own confidence {own['brier']:.4f}"
    console.print(
        f"Brier score {said['brier']:.4f}; {beside}; the base rate {said['brier_base_rate']:.4f}.\n",
        highlight=False,
    )
