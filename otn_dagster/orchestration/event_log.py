"""Dagster's event log in SQLite, with connections that are kept.

Belongs here: how this log connects. Does not belong here: what is in it (Dagster).

Dagster's own makes an engine and a connection for every event, and compiles every statement again with it: 5 to 7 ms of CPU an event,
where a file of detections has some thirty. The files and their contents are the same, so that a node may go from one to the other.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

BUSY_SECONDS = 60
MOST_KEPT = 8  # logs of runs that stay open: the index, and those that are being read or written


class KeptConnections(SqliteEventLogStorage):
    """As its parent, whose lock lets one thread at a time in; a connection a log, the least used closed."""

    def __init__(self, base_dir: str, inst_data: Any = None):
        """Nothing is opened yet."""
        self._kept: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """As ``dagster.yaml`` names it."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._kept:
            arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
            self._kept[shard] = create_engine(
                self.conn_string_for_shard(shard), poolclass=StaticPool, connect_args=arguments
            )
        self._kept.move_to_end(shard)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)[1].dispose()
        return self._kept[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table: a table that was there once stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        """Close all."""
        for engine in self._kept.values():
            engine.dispose()
        self._kept.clear()
        super().dispose()
