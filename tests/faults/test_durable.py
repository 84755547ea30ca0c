"""What is committed survives a power cut: the settings that promise it, read back from the writer's connection."""

from pathlib import Path

import pytest

from pipeline.ledger.sql.ledger import store_of
from tests.services import postgresql_schema


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    with store_of(f"sqlite:///{tmp_path}/ledger.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("default", ["on", "off"])
def test_postgresql_waits_for_its_log(default: str) -> None:
    # Given a server, or a role, that would not wait by default
    with postgresql_schema() as url:
        store = store_of(f"{url}&options=-csynchronous_commit%3D{default}")
        # Then the writer waits all the same
        with store.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
