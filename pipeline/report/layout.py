"""What every form of a report is made of: sections with a finding, tables of text, perhaps a chart."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pipeline.report.share import Share
from pipeline.report.sql import Row

LONGEST = 200  # characters of a cell: answers may be of any length
Format = Callable[[Sequence[Any]], list[str]]  # a whole column at once, so that its digits align


class Column(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    numeric: bool


class Table(msgspec.Struct, frozen=True, kw_only=True):
    caption: str
    columns: list[Column]
    rows: list[list[str]]
    folded: bool = False  # opened by who wants to see it


class Section(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # of the place in the page
    title: str
    finding: str  # a sentence; of a chart, what one sees on it
    notes: list[str] = []
    tables: list[Table] = []
    chart: dict[str, Any] | None = None  # Vega-Lite; its numbers stand in the first table


def table(
    caption: str, rows: Sequence[Row], columns: dict[str, tuple[str, Format]], *, folded: bool = False
) -> Table:
    """`columns`: title -> key of the rows and how its values are written."""
    cells = [form([row[key] for row in rows]) for key, form in columns.values()]
    return Table(
        caption=caption,
        columns=[Column(title=title, numeric=form is not texts) for title, (_, form) in columns.items()],
        rows=[list(row) for row in zip(*cells, strict=True)],
        folded=folded,
    )


def texts(values: Sequence[Any]) -> list[str]:
    return [short(" → ".join(map(str, each)) if isinstance(each, list) else _plain(each)) for each in values]


def stated(values: Sequence[Any]) -> list[str]:
    """Figures that were written already."""
    return list(values)


def counts(values: Sequence[Any]) -> list[str]:
    return ["" if each is None else f"{each:,}" for each in values]


def shares(values: Sequence[Any]) -> list[str]:
    return ["" if each is None else f"{each:.1%}" for each in values]


def chances(values: Sequence[Any]) -> list[str]:
    return ["" if each is None else f"{each:.2f}" for each in values]


def dollars(values: Sequence[Any]) -> list[str]:
    """Digits enough for the smallest amount to show, the same in all rows."""
    known: list[float] = [abs(float(each)) for each in values if each]
    least = min(known, default=1.0)
    digits = 2 if least >= 1 else 4 if least >= 0.01 else 6
    return ["" if each is None else f"${each:,.{digits}f}" for each in values]


def usd(amount: Decimal | float) -> str:
    """One amount: cents where they are enough."""
    size = abs(float(amount))
    return f"${amount:,.{2 if size >= 1 or not size else 4 if size >= 0.01 else 6}f}"


def interval(share: Share) -> str:
    return f"{100 * share.low:.1f}–{share.high:.1%}"


def short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def listed(names: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
