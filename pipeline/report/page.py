"""A summary as one self-contained HTML page."""

from decimal import Decimal
from html import escape
from typing import Any

from pipeline.report.certificate import details, headline, tables
from pipeline.report.sql import Row
from pipeline.report.summary import Summary

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1a1f24 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem }
th { border-bottom: 2px solid #d0d7de } td { border-bottom: 1px solid #eaeef2 }
.number { text-align: right; font-variant-numeric: tabular-nums }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap }
.tile { border: 1px solid #d0d7de; border-radius: .5rem; padding: .6rem 1rem }
.tile b { display: block; font-size: 1.3rem }
"""


def page(summary: Summary) -> str:
    accuracy = "no gold in the input" if summary.accuracy is None else f"{summary.accuracy:.1%}"
    tiles = [
        ("queries", f"{summary.queries:,}"),
        ("cost", f"${summary.cost_usd:,.6f}"),
        ("cap", f"${summary.cap_usd:,.2f}"),
        *_forecast(summary),
        *_certificate(summary),
        ("presumed", f"${summary.presumed_usd:,.6f}"),
        ("accuracy against gold", accuracy),
    ]
    sections = [
        ("How queries ended", [{"status": k, "queries": v} for k, v in summary.statuses.items()]),
        ("Tiers", summary.tiers),
        ("Routing categories", summary.categories),
        ("Routed by", summary.routes),
        ("Classes, the worst first", summary.classes),
        ("Mistaken for", summary.confusion),
        ("Why tiers were not believed", summary.escalations),
        ("Dearest queries", summary.dearest),
        ("Reviewed by", summary.reviewed),
    ]
    if summary.certificate is not None:
        sections[:0] = tables(summary.certificate)
    body = "".join(f"<h2>{escape(title)}</h2>{_table(rows)}" for title, rows in sections if rows)
    shown = "".join(f'<div class="tile">{escape(name)}<b>{escape(value)}</b></div>' for name, value in tiles)
    title = f"{summary.job}, generation {summary.generation}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><h1>{escape(title)}</h1><div class="tiles">{shown}</div>'
        f"{_promise(summary)}{body}</html>"
    )


def _forecast(summary: Summary) -> list[tuple[str, str]]:
    if summary.forecast_usd is None:
        return []
    low, high = summary.forecast_usd
    verdict = "held" if summary.forecast_held else "did not hold"
    return [(f"90 % forecast of the cost: {verdict}", f"${low:,.4f} to ${high:,.4f}")]


def _certificate(summary: Summary) -> list[tuple[str, str]]:
    row = summary.certificate
    if row is None or row["target"] is None:
        return []
    said = "certified" if row["certified"] else "pending" if row["pending"] else "not certified"
    return [
        (
            f"agreement with {row['reference']}, confidence {row['confidence']:.0%}",
            f"{said} ≥ {row['target']:.1%}",
        )
    ]


def _promise(summary: Summary) -> str:
    row = summary.certificate
    if row is None:
        return ""
    return "".join(f"<p>{escape(line)}</p>" for line in (headline(row), *details(row)))


def _table(rows: list[Row]) -> str:
    head = "".join(f"<th{_align(rows[0][name])}>{escape(name)}</th>" for name in rows[0])
    lines = "".join(
        "<tr>" + "".join(f"<td{_align(cell)}>{escape(_text(cell))}</td>" for cell in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{lines}</table>"


def _align(cell: Any) -> str:
    return "" if cell is None or isinstance(cell, str | list) else ' class="number"'


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, list):
        return " → ".join(map(str, cell))
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
