"""PostgreSQL through psycopg 3: durable commits, row locks, a schema of its own with `?schema=name`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.hot import Hot
from pipeline.ledger.sql.store import SCHEMA_LOCK
from pipeline.ledger.sql.versions import bring_up
from schemas.secrets import HIDDEN, hide

_DEFAULTS = {"connect_timeout": "5", "application_name": "tierwise"}  # where the URL says nothing
_SETTINGS = (
    "SET synchronous_commit = on",
    "SET lock_timeout = '20s'",
    "SET idle_in_transaction_session_timeout = '30s'",  # a host that vanished must not keep its locks
    # the writer only looks rows up by index: a plan made while the tables were empty must not scan them later
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
)


class PostgresStore:
    postgresql = True

    def __init__(self, url: URL) -> None:
        from psycopg import InterfaceError, OperationalError

        self.lost: tuple[type[Exception], ...] = (OperationalError, InterfaceError)
        schema = url.query.get("schema")
        self._schema = schema if isinstance(schema, str) else None
        self._url = url.difference_update_query(["schema"]).set(drivername="postgresql+psycopg")
        secrets = [url.password, *(url.query.get(name) for name in ("password", "sslpassword"))]
        self._secrets = [str(secret) for secret in secrets if secret]
        self.url = hide(url.set(drivername="postgresql").render_as_string(hide_password=True))
        self.scope = self._schema or ""

    def connect(self) -> Connection:
        connection = self._engine().connect()
        try:
            with connection.begin():
                self._create(connection)
            for setting in _SETTINGS:
                connection.exec_driver_sql(setting)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
        if self._schema is not None:
            query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
            # asked first: CREATE … IF NOT EXISTS wants the right to create even where there is nothing to do
            if connection.exec_driver_sql(query, (self._schema,)).first() is None:
                connection.exec_driver_sql(f"CREATE SCHEMA {_quoted(self._schema)}")
        bring_up(connection, self.url)

    def hot(self, connection: Connection, chains: Chains) -> Hot:
        from pipeline.ledger.sql.postgresql_hot import PostgresHot

        driver: Any = connection.connection.driver_connection
        return PostgresHot(driver, self.scope, chains)

    def connect_reader(self) -> Connection:
        return self._engine().execution_options(isolation_level="AUTOCOMMIT").connect()

    def _engine(self) -> Engine:
        url = self._url
        for option, value in _DEFAULTS.items():
            if option not in url.query:
                url = url.update_query_dict({option: value})
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, connection: Any, _record: Any) -> None:
        from psycopg.types.numeric import Int8Dumper

        # every int as int8: by default its type follows its size, and each mix of sizes is prepared anew
        connection.adapters.register_dumper(int, Int8Dumper)
        if self._schema is not None:
            connection.execute(f"SET search_path TO {_quoted(self._schema)}")
            connection.commit()

    @contextmanager
    def guard(self) -> Iterator[None]:
        yield

    def clean(self, message: str) -> str:
        for secret in self._secrets:
            for form in {secret, quote(secret, safe="")}:
                message = message.replace(form, HIDDEN)
        return message


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
