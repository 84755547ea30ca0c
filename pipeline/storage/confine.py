"""A connection that reads the tables of one lake and nothing else: no other file, no network, no setting."""

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from pipeline.storage.sql import quote
from schemas.tables import TABLES

if TYPE_CHECKING:
    import duckdb

FOLDERS = (*TABLES, "_live", "_commits")  # of a lake, what its views read
MEMORY = "50%"  # of the machine's; beyond it DuckDB spills to a folder of its own


def confine(connection: "duckdb.DuckDBPyConnection", roots: Sequence[str]) -> None:
    """Final: SQL that runs afterwards can neither widen it nor see Python's variables. `roots`: every way to
    write the lake's place. Source: duckdb.org/docs/operations_manual/securing_duckdb/overview"""
    spill = os.path.join(tempfile.gettempdir(), f"tierwise-spill-{uuid4().hex}")
    places = ", ".join(quote(f"{root}/{folder}/") for root in roots for folder in FOLDERS)
    for setting in (
        f"temp_directory = {quote(spill)}",
        f"memory_limit = '{MEMORY}'",
        "python_enable_replacements = false",
        f"allowed_directories = [{places}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
