"""The node database: where it is, how to connect, and its migrations.

Belongs here: connections and schema versions. Does not belong here: what any table means (the packages that own them)
and the embedded server's life (``embedded.py``).
"""

import datetime as dt
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from otn_dagster.config import BadConfiguration, Settings
from otn_dagster.embedded import EmbeddedServer

Connection = psycopg.Connection
MIGRATIONS = Path(__file__).parent / "migrations"

# One person's loading and another's push meet on these PostgreSQL advisory locks.
MIGRATION_LOCK = 7_201_001
LOADING_LOCK = 7_201_002
SCHEMA_LOCK = 7_201_003
PROMOTION_LOCK = 7_201_004
LIVE_LOG_LOCK = 7_201_005
LIVE_SCHEMA_LOCK = 7_201_006
OUTBOX_LOCK = 7_201_007
# Those that are taken for one subject at a time: (number, hash of the subject), a space of its own.
SIGN_IN_LOCKS = 7_202
LIVE_SUBMISSION_LOCKS = 7_203
LIVE_KEY_LOCKS = 7_204
PUSH_LOCKS = 7_205


def database_url(settings: Settings) -> str:
    """URL of the node database; starts the embedded server where none is configured."""
    if settings.database_url:
        return settings.database_url
    server = EmbeddedServer(settings.data)
    server.start()
    return server.url


@functools.cache
def ready(url: str) -> str:
    """The same URL, once per process, after bringing its schema up to date."""
    if _revision(url) != newest_revision():
        migrate(url)
    return url


def newest_revision() -> str:
    """The last revision that there is."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _revision(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        if not connection.execute("select to_regclass('platform.schema_version')").fetchone()[0]:  # type: ignore[index]
            return None
        row = connection.execute("select version_num from platform.schema_version").fetchone()
        return row[0] if row else None


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema to a revision. Safe to repeat and to race: an advisory lock lets one process at a time in,
    each revision runs in one transaction, and a schema that is up to date is left alone.
    """
    # Imported here: every run of Dagster is a process of its own, and most find the schema up to date.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(_sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"select pg_advisory_xact_lock({MIGRATION_LOCK})"))
        connection.execute(text("create schema if not exists platform"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def connect(settings: Settings) -> Iterator[Connection]:
    """One connection in one transaction: committed when the block ends, rolled back when it raises."""
    with psycopg.connect(ready(database_url(settings))) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


class Session:
    """One connection for many transactions, one after another; made anew where it broke. Used as a context, by one thread."""

    def __init__(self, settings: Settings):
        """Connects when the first transaction begins."""
        self._settings = settings
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The connection in a transaction: committed when the block ends, rolled back when it raises."""
        if self._connection is None or self._connection.closed:
            # Without prepared statements: tables of a session get columns and children while it lives.
            url = ready(database_url(self._settings))
            self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
            self._connection.execute("set time zone 'UTC'")
        with self._connection.transaction():
            yield self._connection

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()


@dataclass(frozen=True)
class Description:
    """What a server says of itself; ``revision`` is that of the schema, ``clock`` its time.

    locks: how many there is room for; wanted: how many a question to the whole network takes (each table, and its indexes).
    """

    server: str
    postgis: str | None
    revision: str | None
    clock: dt.datetime
    locks: int
    wanted: int


def describe(connection: Connection) -> Description:
    """Versions and clock of a server."""
    row = connection.execute(
        "select current_setting('server_version'), (select extversion from pg_extension where extname = 'postgis'),"
        " (select version_num from platform.schema_version), clock_timestamp(), current_setting('max_locks_per_transaction')::int"
        " * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int), 3 * count(*)::int from pg_inherits"
    ).fetchone()
    assert row is not None
    return Description(row[0].split()[0], *row[1:])


def lock_for(connection: Connection, locks: int, subject: str) -> None:
    """Wait until no other transaction holds the lock of this subject; it is held until this one ends."""
    connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", [locks, subject])


def write_something(connection: Connection) -> None:
    """Raises where nothing can be written durably now; leaves nothing behind."""
    connection.execute("create temporary table if not exists ready (at timestamptz) on commit drop")
    connection.execute("select pg_current_xact_id()")


def _sqlalchemy_url(url: str) -> str:
    scheme, rest = url.split("://", 1)
    if scheme not in ("postgresql", "postgres"):
        raise BadConfiguration(f"OTN_DATABASE_URL starts with {scheme}://, expected postgresql://")
    return f"postgresql+psycopg://{rest}"
