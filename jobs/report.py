"""`tierwise report`: what a closed job came to: on the terminal, as a page or as Markdown."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from jobs.options import JobName, Json, Lake, job_of, print_json, run_async, settings_of
from jobs.summary import print_end, print_opening
from pipeline.report.figures import Figures, read_figures
from pipeline.report.layout import Section, Table
from pipeline.report.markdown import markdown
from pipeline.report.page import page
from pipeline.report.sections import sections
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas import lake as layout
from schemas import manifest
from schemas.errors import NoSuchObject
from schemas.ids import JobId
from schemas.manifest import Manifest

SHORT = 12  # rows of a table beside a chart that the terminal shows
FORMS: dict[str, Callable[[Figures], str]] = {".html": page, ".htm": page, ".md": markdown}


def command(
    job: JobName,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write FILE.html or FILE.md.")] = None,
    lake: Lake = None,
    as_json: Json = False,
) -> None:
    """Report a closed job from its final tables."""
    if output is not None and output.suffix.lower() not in FORMS:
        raise typer.BadParameter(f"{output} is of no known form; name it FILE.html or FILE.md")
    settings = settings_of(lake)
    job = job_of(settings, job)
    pinned = run_async(_manifest(settings.lake_uri(), JobId(job)))
    with connect(open_storage(settings.lake_uri())) as connection:
        figures = read_figures(connection, JobId(job), pinned)
    if output is not None:
        _write(output, FORMS[output.suffix.lower()](figures))
    if as_json:
        print_json(figures.as_dict())
    elif output is not None:
        typer.echo(f"Wrote {output}")
    else:
        console = Console(highlight=False, soft_wrap=True)
        print_opening(console, figures.summary)
        for section in sections(figures):
            _print(console, section)
        print_end(console, figures.summary, settings.lake_uri(), f" --lake {lake}" if lake else "")


async def _manifest(uri: str, job: JobId) -> Manifest | None:
    if not layout.JOB_ID.fullmatch(job):
        return None
    storage = open_storage(uri)
    try:
        return manifest.decode(await storage.read(layout.manifest(job)))
    except NoSuchObject:
        return None
    finally:
        await storage.close()


def _print(console: Console, section: Section) -> None:
    console.print(f"\n[bold]{escape(section.title)}[/]")
    for line in (section.finding, *section.notes):
        console.print(line, markup=False)
    for table in section.tables:
        if section.chart is None and table.folded:
            _print_folded(console, table)
        elif not table.folded or len(table.rows) <= SHORT:
            console.print(_table(table))


def _print_folded(console: Console, table: Table) -> None:
    """A line for each row: there may be many such tables."""
    console.print(table.caption, markup=False)
    for row in table.rows:
        console.print(f"  {' · '.join(filter(None, row))}", markup=False)


def _table(table: Table) -> RichTable:
    shown = RichTable(title=escape(table.caption), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        shown.add_column(escape(column.title), justify=side, no_wrap=column.numeric)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None
