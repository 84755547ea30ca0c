"""`tierwise estimate`: what a job will cost, before anything is spent."""

from rich.console import Console
from rich.table import Table

from jobs.options import Budget, Json, Lake, Limit, Spec, print_json, run_async, settings_of
from pipeline.estimate import ESCALATING, Estimate, estimate
from pipeline.forecast import COVERAGE, Forecast
from pipeline.storage import open_storage
from pipeline.submit.spec import read_spec
from schemas.money import format_usd, nano_to_usd, usd_to_nano


def command(
    spec: Spec,
    budget: Budget = None,
    limit: Limit = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Price a job from its prompt, its rows, its tiers and the earlier jobs of its task. Sends nothing."""
    prepared = run_async(read_spec(spec, budget, for_calls=False))
    storage = open_storage(settings_of(lake or prepared.spec.output.lake).lake_uri())
    said = estimate(prepared, usd_to_nano(prepared.spec.budget.usd), limit, storage)
    if as_json:
        print_json(_as_dict(said))
        return
    table = Table("tier", title=f"{said.queries:,} queries", title_justify="left")
    table.add_column("if all ask it", justify="right")
    table.add_column("held at most", justify="right")
    for tier in said.tiers:
        table.add_row(tier.tier, format_usd(tier.expected), format_usd(tier.bound))
    for judge in said.judges:
        name = f"{judge.judge} ({judge.tier})"
        table.add_row(name, format_usd(judge.expected), format_usd(judge.bound))
    console = Console()
    console.print(table)
    console.print(
        f"Between {format_usd(said.low)} (all stay on the first tier) and {format_usd(said.high)} (all ask every "
        f"tier and judge); about {format_usd(said.expected)} if {ESCALATING:.0%} leave each tier. "
        f"Cap {format_usd(said.cap)}: never more.",
        highlight=False,
    )
    if said.audit:
        console.print(
            f"Of it {format_usd(said.audit)} for pilot and audit, which ask every tier; where no plan can be "
            "certified, the job ends there.",
            highlight=False,
        )
    if said.forecast is not None:
        past = said.forecast
        console.print(
            f"Earlier jobs of this task ({past.jobs}, {past.queries:,} queries) say about {format_usd(past.expected)}: "
            f"{COVERAGE:.0%} interval {format_usd(past.low)} to {format_usd(past.high)}.",
            highlight=False,
        )


def _as_dict(said: Estimate) -> dict[str, object]:
    return {
        "queries": said.queries,
        "audit_usd": nano_to_usd(said.audit),
        "low_usd": nano_to_usd(said.low),
        "expected_usd": nano_to_usd(said.expected),
        "high_usd": nano_to_usd(said.high),
        "cap_usd": nano_to_usd(said.cap),
        "forecast": None if said.forecast is None else _forecast(said.forecast),
        "tiers": [
            {
                "tier": tier.tier,
                "expected_usd": nano_to_usd(tier.expected),
                "bound_usd": nano_to_usd(tier.bound),
            }
            for tier in said.tiers
        ],
        "judges": [
            {
                "judge": judge.judge,
                "tier": judge.tier,
                "expected_usd": nano_to_usd(judge.expected),
                "bound_usd": nano_to_usd(judge.bound),
            }
            for judge in said.judges
        ],
    }


def _forecast(past: Forecast) -> dict[str, object]:
    return {
        "low_usd": nano_to_usd(past.low),
        "expected_usd": nano_to_usd(past.expected),
        "high_usd": nano_to_usd(past.high),
        "coverage": COVERAGE,
        "jobs": past.jobs,
        "queries": past.queries,
    }
