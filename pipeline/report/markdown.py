"""A report as Markdown: headline, findings and tables, for a pull request or a chat."""

import re

from pipeline.report.figures import Figures
from pipeline.report.headline import lines, tiles
from pipeline.report.layout import Section, Table
from pipeline.report.sections import sections

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|!~&]")  # what Markdown or its HTML would take for more than text


def markdown(figures: Figures) -> str:
    summary = figures.summary
    blocks = [
        f"# {text(summary.job)}",
        f"Generation {summary.generation}, closed {figures.closed_at:%Y-%m-%d %H:%M} UTC.",
        _rows(["", "", ""], [[tile.label, tile.value, tile.note] for tile in tiles(figures)]),
        *map(text, lines(figures)),
    ]
    for section in sections(figures):
        blocks += _section(section)
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
    blocks = [f"## {text(section.title)}", text(section.finding), *map(text, section.notes)]
    for table in section.tables:
        blocks += [f"**{text(table.caption)}**", _table(table)]
    return blocks


def _table(table: Table) -> str:
    titles = [column.title for column in table.columns]
    return _rows(titles, table.rows, [column.numeric for column in table.columns])


def _rows(titles: list[str], rows: list[list[str]], numeric: list[bool] | None = None) -> str:
    rule = ["---:" if each else "---" for each in numeric or [False] * len(titles)]
    lines_ = [[text(title) for title in titles], rule, *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines_)


def text(value: str) -> str:
    """In one line, and nothing in it is markup."""
    return _MARKS.sub(lambda found: "\\" + found[0], " ".join(value.split()))
