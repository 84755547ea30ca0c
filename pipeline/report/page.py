"""A report as one self-contained HTML page: no script, no request, right in the dark and in the light."""

import base64
import hashlib
from html import escape
from importlib.resources import files
from string import Template

from pipeline.report.charts import svg
from pipeline.report.figures import Figures
from pipeline.report.headline import Tile, lines, tiles
from pipeline.report.layout import Section, Table
from pipeline.report.sections import sections


def page(figures: Figures) -> str:
    """All text is escaped; should markup of a document ever get through, the policy lets it run and load nothing."""
    folder = files("pipeline.report")
    style = (folder / "page.css").read_text(encoding="utf-8")
    summary = figures.summary
    found = sections(figures)
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; style-src 'sha256-{_digest(style)}'; base-uri 'none'; form-action 'none'",
        style=style,
        job=escape(summary.job),
        about=escape(
            f"{figures.name}, generation {summary.generation}. Submitted {figures.created_at:%Y-%m-%d %H:%M:%S}, "
            f"closed {figures.closed_at:%Y-%m-%d %H:%M:%S} UTC."
        ),
        tiles="".join(map(_tile, tiles(figures))),
        lines="".join(f"<p>{escape(line)}</p>" for line in lines(figures)),
        contents="".join(f'<li><a href="#{each.name}">{escape(each.title)}</a></li>' for each in found),
        sections="".join(map(_section, found)),
    )


def _digest(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _tile(tile: Tile) -> str:
    bar = ""
    if tile.share is not None:
        bar = (
            f'<svg class="bar" aria-hidden="true" viewBox="0 0 100 4" preserveAspectRatio="none">'
            f'<rect class="whole" width="100" height="4"/>'
            f'<rect class="part" width="{100 * min(1.0, tile.share):.1f}" height="4"/></svg>'
        )
    return (
        f"<div><dt>{escape(tile.label)}</dt><dd><b>{escape(tile.value)}</b>{bar}"
        f"<span>{escape(tile.note)}</span></dd></div>"
    )


def _section(section: Section) -> str:
    name = f"{section.name}-title"
    chart = "" if section.chart is None else f"<figure>{svg(section.chart, section.finding)}</figure>"
    notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in section.notes)
    shown = "".join(map(_table, section.tables))
    kind = ' class="charted"' if chart else ""
    return (
        f'<section id="{section.name}" aria-labelledby="{name}"{kind}><h2 id="{name}">{escape(section.title)}</h2>'
        f'<p class="finding">{escape(section.finding)}</p>{chart}{notes}{shown}</section>'
    )


def _table(table: Table) -> str:
    """A wide one scrolls by itself, also by keys."""
    head = "".join(
        f'<th scope="col"{_align(column.numeric)}>{escape(column.title)}</th>'
        if column.title
        else "<td></td>"
        for column in table.columns
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_align(column.numeric)}>{escape(cell)}</td>"
            for column, cell in zip(table.columns, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    caption = escape(table.caption)
    inner = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    if table.folded:
        return (
            f'<details><summary>{caption}</summary><div class="wide" role="group" tabindex="0" '
            f'aria-label="{caption}"><table>{inner}</table></div></details>'
        )
    return (
        f'<div class="wide" role="group" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"{inner}</table></div>"
    )


def _align(numeric: bool) -> str:
    return ' class="number"' if numeric else ""
