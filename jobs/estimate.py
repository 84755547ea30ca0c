"""`tierwise estimate`: what a job will cost, before anything is spent."""

from rich.console import Console
from rich.table import Table

from jobs.options import Budget, Json, Limit, Spec, print_json, run_async
from pipeline.estimate import ESCALATING, Estimate, estimate
from pipeline.submit import read_spec
from schemas.money import format_usd, nano_to_usd, usd_to_nano


def command(
    spec: Spec,
    budget: Budget = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Price a job from its prompt, its rows and its tiers. Sends nothing."""
    prepared = run_async(read_spec(spec, budget, for_calls=False))
    said = estimate(prepared, usd_to_nano(prepared.spec.budget.usd), limit)
    if as_json:
        print_json(_as_dict(said))
        return
    table = Table("tier", title=f"{said.queries:,} queries", title_justify="left")
    table.add_column("if all ask it", justify="right")
    table.add_column("held at most", justify="right")
    for tier in said.tiers:
        table.add_row(tier.tier, format_usd(tier.expected), format_usd(tier.bound))
    console = Console()
    console.print(table)
    console.print(
        f"Between {format_usd(said.low)} (all stay on the first tier) and {format_usd(said.high)} (all ask every "
        f"tier); about {format_usd(said.expected)} if {ESCALATING:.0%} leave each tier. "
        f"Cap {format_usd(said.cap)}: never more.",
        highlight=False,
    )


def _as_dict(said: Estimate) -> dict[str, object]:
    return {
        "queries": said.queries,
        "low_usd": nano_to_usd(said.low),
        "expected_usd": nano_to_usd(said.expected),
        "high_usd": nano_to_usd(said.high),
        "cap_usd": nano_to_usd(said.cap),
        "tiers": [
            {
                "tier": tier.tier,
                "expected_usd": nano_to_usd(tier.expected),
                "bound_usd": nano_to_usd(tier.bound),
            }
            for tier in said.tiers
        ],
    }
