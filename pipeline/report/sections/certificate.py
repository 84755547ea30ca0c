"""The section on what was promised, or on what an audit found."""

from collections.abc import Iterator, Sequence

from pipeline.report.certificate import details, headline, tables
from pipeline.report.layout import (
    Format,
    Section,
    Table,
    counts,
    shares,
    table,
    texts,
)
from pipeline.report.sql import Row

SHORT = 12  # rows of a table that is shown at once


def certificate(row: Row | None) -> Iterator[Section]:
    if row is None:
        return
    yield Section(
        name="certificate",
        title="Certificate" if row["target"] is not None else "Audit",
        finding=headline(row),
        notes=details(row),
        tables=[_plain(title, found) for title, found in tables(row)],
    )


def _plain(title: str, found: Sequence[Row]) -> Table:
    """Rows as they are: words, whole numbers, shares."""
    columns = {name: (name, _form([row[name] for row in found])) for name in found[0]}
    return table(title, found, columns, folded=len(found) > SHORT)


def _form(cells: Sequence[object]) -> Format:
    known = [cell for cell in cells if cell is not None]
    if any(isinstance(cell, str | bool) for cell in known):
        return texts
    return counts if known and all(isinstance(cell, int) for cell in known) else shares
