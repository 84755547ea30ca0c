"""What a schedule's earlier jobs have answered: its next job asks about the rest."""

import hashlib
import sqlite3
from importlib.resources import files
from tempfile import NamedTemporaryFile

from pipeline.ports.storage import Storage
from pipeline.storage.views import ask, connect
from schemas.manifest import Incremental
from schemas.records import Query

_ROWS = 10_000  # read at a time


class Answered:
    """Documents by id, each with the hash of its text, on disk: they need not fit into memory. Blocking; counts what
    it is asked about."""

    def __init__(self, storage: Storage, schedule: str, prompt_hash: str) -> None:
        self._file = NamedTemporaryFile(prefix="tierwise-answered-")  # noqa: SIM115  # closed by close()
        self._db = sqlite3.connect(self._file.name, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE answered (id TEXT PRIMARY KEY, hash TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self._new = self._changed = self._unchanged = 0
        sql = files("pipeline").joinpath("answered.sql").read_text(encoding="utf-8")
        with connect(storage) as connection:
            found = ask(connection, sql, {"schedule": schedule, "prompt_hash": prompt_hash})
            while rows := found.fetchmany(_ROWS):
                self._db.executemany("INSERT INTO answered VALUES (?, ?)", rows)

    def close(self) -> None:
        self._db.close()
        self._file.close()

    def is_unchanged(self, query: Query) -> bool:
        """Whether it was answered, with this text."""
        known = self._db.execute("SELECT hash FROM answered WHERE id = ?", (query.query_id,)).fetchone()
        if known is None:
            self._new += 1
        elif known[0] != hashlib.sha256(query.text.encode()).hexdigest():
            self._changed += 1
        else:
            self._unchanged += 1
            return True
        return False

    @property
    def counts(self) -> Incremental:
        return Incremental(new=self._new, changed=self._changed, unchanged=self._unchanged)
