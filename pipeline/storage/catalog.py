"""The views of a lake, each with its comment and its columns' comments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.storage.sql import named, quote, read_sql
from schemas.tables import BATCH_TABLES, TABLES, describe

VIEWS = "views.sql"
_HIDDEN = {"policies": ("snapshot",)}
_COLUMNS = re.compile(r"-- (\w+(?:, \w+)*): (.+)")
_AS_IN = re.compile(r"as in (\w+)")


@dataclass(frozen=True, kw_only=True)
class View:
    name: str
    sql: str
    comment: str
    columns: Mapping[str, str]  # each with its comment

    @property
    def comments(self) -> str:
        """SQL that attaches them."""
        said = [f"COMMENT ON VIEW {self.name} IS {quote(self.comment)};"]
        said += [
            f'COMMENT ON COLUMN {self.name}."{name}" IS {quote(of)};' for name, of in self.columns.items()
        ]
        return "\n".join(said)


def script(lake: str, *, commented: bool = True) -> str:
    """views.sql as it stands in a lake whose place, as a glob begins with it, is this. Comments cost DuckDB 80 ms."""
    text = read_sql(VIEWS)
    pieces = [text[: text.index("-- name:")].strip()]
    for view in views():
        pieces += [f"-- {view.comment}\n{view.sql}", *([view.comments] if commented else [])]
    return "\n\n".join(pieces).replace("{lake}", lake.replace("'", "''")) + "\n"


def views() -> list[View]:
    """In an order in which they can be made; `{lake}` stands for the lake's place."""
    statements = named(read_sql(VIEWS))
    final, live = statements.pop("table"), statements.pop("live")
    tables = {name: _of_table(final, name) for name in TABLES}
    running = [
        replace(
            _of_table(live, name), name=f"{name}_live", comment=f"`{name}` of the batches committed so far."
        )
        for name in BATCH_TABLES
    ]
    others = [_of_query(name, sql, tables) for name, sql in statements.items()]
    return [*tables.values(), *others, *running]


def _of_table(template: str, name: str) -> View:
    """Its columns by name: views of `*` break in DuckDB 1.x when a column is added."""
    columns = {
        field.name: describe(field) for field in TABLES[name] if field.name not in _HIDDEN.get(name, ())
    }
    listed = ", ".join(f'"{column}"' for column in columns)
    sql = template.replace("{table}", name).replace("{columns}", listed)
    return View(name=name, sql=sql, comment=describe(TABLES[name]), columns=columns)


def _of_query(name: str, statement: str, tables: Mapping[str, View]) -> View:
    said, columns = [], {}
    *head, sql = statement.partition("CREATE ")
    for line in head[0].splitlines():
        if found := _COLUMNS.fullmatch(line):
            source = _AS_IN.fullmatch(found[2])
            for column in found[1].split(", "):
                columns[column] = tables[source[1]].columns[column] if source else found[2]
        else:
            said.append(line.removeprefix("--").strip())
    return View(name=name, sql=f"CREATE {sql}", comment=" ".join(said), columns=columns)
