"""The section on what was promised, or on what an audit found."""

from collections.abc import Iterator, Sequence

from pipeline.report.certificate import details, headline, tables
from pipeline.report.layout import (
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
    """Rows as they are: text first, shares after it."""
    forms = {name: (name, counts if name in ("graded", "population") else shares) for name in found[0]}
    first = next(iter(found[0]))
    return table(title, found, {**forms, first: (first, texts)}, folded=len(found) > SHORT)
