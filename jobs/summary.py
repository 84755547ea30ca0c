"""A summary on the terminal, and the exit code it means."""

import os
import shlex
import shutil
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.report.certificate import details, headline
from pipeline.report.sql import Row
from pipeline.report.summary import Summary, summarise
from pipeline.storage.views import connect
from pipeline.work import Services
from schemas.ids import JobId
from schemas.job import Allowance
from schemas.manifest import Manifest


def read_summary(services: Services, job: JobId) -> Summary:
    with connect(services.storage) as connection:
        return summarise(connection, job)


def allowance_of(manifest: Manifest) -> Allowance:
    return manifest.job_spec().budget.allow


def print_summary(summary: Summary, lake: str, lake_option: str = "") -> None:
    """The short form, at the end of a run."""
    console = Console(highlight=False, soft_wrap=True)
    print_opening(console, summary)
    if summary.certificate is not None:
        console.print(f"[bold]{escape(headline(summary.certificate))}[/]")
        for line in details(summary.certificate):
            console.print(line, markup=False)
    console.print(_tiers(summary.tiers))
    if len(summary.routes) > 1:
        console.print(_routes(summary.routes))
    if summary.confusion:
        console.print(_confusion(summary))
    if summary.reviewed:
        console.print(_reviewed(summary.reviewed))
    print_end(console, summary, lake, lake_option)


def print_opening(console: Console, summary: Summary) -> None:
    """How the job ended, what it cost, how right it is."""
    ended = " · ".join(f"{count:,} {status}" for status, count in summary.statuses.items())
    presumed = f", of it ${summary.presumed_usd:f} presumed" if summary.presumed_usd else ""
    console.print(f"\n[bold]{summary.job}[/] (generation {summary.generation}): {ended}")
    console.print(
        f"Cost ${summary.cost_usd:,.6f} of a cap of ${summary.cap_usd:,.2f}{presumed}; "
        f"{summary.seconds:.1f} s from submit to close"
    )
    if summary.forecast_usd is not None:
        low, high = summary.forecast_usd
        verdict = "held" if summary.forecast_held else "did not hold"
        console.print(f"Forecast from earlier jobs ${low:,.6f} to ${high:,.6f} (90 %): {verdict}")
    if summary.accuracy is not None:
        graded = f"({summary.correct} of {summary.graded})"
        console.print(f"Accuracy against gold: [bold]{summary.accuracy:.1%}[/] {graded}")


def print_end(console: Console, summary: Summary, lake: str, lake_option: str) -> None:
    """Where it all lies, and what to do next."""
    console.print(f"Lake: {lake}", markup=False)
    console.print("Next:")
    for command in _next(summary):
        console.print(f"  {program()} {command}{lake_option}", markup=False)


def _next(summary: Summary) -> list[str]:
    sql = f"SELECT tier, count(*) FROM results WHERE job = '{summary.job}' GROUP BY tier"
    commands = [f"report {summary.job}", f'query "{sql}"']
    if summary.statuses.get("deferred"):
        return [f"resume {summary.job} --add-budget USD", *commands]
    pending = summary.certificate is not None and summary.certificate["pending"]
    if pending or any(row["latest"] is None for row in summary.reviewed):
        commands.append(f"review serve {summary.job}")
    if summary.dearest:
        commands.append(f"why {summary.job} {shlex.quote(summary.dearest[0]['query_id'])}")
    return commands


def program() -> str:
    """How this command was started, when it is not on the PATH."""
    return "tierwise" if shutil.which("tierwise") else os.path.relpath(sys.argv[0])


def _tiers(rows: list[Row]) -> Table:
    table = Table("tier", title="Answers per tier", title_justify="left")
    for name in ("asked", "answered", "accuracy", "calls", "cost"):
        table.add_column(name, justify="right")
    for row in rows:
        accuracy = f"{row['correct'] / row['graded']:.1%}" if row["graded"] else ""
        table.add_row(
            row["tier"],
            str(row["asked"]),
            str(row["answered"]),
            accuracy,
            str(row["calls"]),
            f"${row['cost_usd']:f}",
        )
    return table


def _routes(rows: list[Row]) -> Table:
    table = Table("routed by", title="What chose the tiers", title_justify="left")
    for name in ("queries", "accuracy", "cost"):
        table.add_column(name, justify="right")
    for row in rows:
        accuracy = f"{row['correct'] / row['graded']:.1%}" if row["graded"] else ""
        table.add_row(row["route"], str(row["queries"]), accuracy, f"${row['cost_usd']:f}")
    return table


def _reviewed(rows: list[Row]) -> Table:
    table = Table("reviewed by", title="Sent to review", title_justify="left")
    for name in ("queries", "as answered"):
        table.add_column(name, justify="right")
    for row in rows:
        agree = "" if row["latest"] is None else str(row["agree"])
        table.add_row(escape(row["reviewer"]), str(row["queries"]), agree)
    return table


def _confusion(summary: Summary) -> Table:
    table = Table("gold", "right", "mistaken for", title="The worst classes", title_justify="left")
    for row in summary.classes[:5]:
        wrong = [
            f"{each['answer']} ×{each['queries']}"
            for each in summary.confusion
            if each["gold"] == row["gold"]
        ]
        table.add_row(escape(row["gold"]), f"{row['correct']} of {row['queries']}", escape(", ".join(wrong)))
    return table
