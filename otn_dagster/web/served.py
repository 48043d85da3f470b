"""The datasets as they are configured and switched now.

Belongs here: what is served, and keeping it up to date. Does not belong here: serving it.
"""

import logging
from dataclasses import dataclass

import psycopg

from otn_dagster.live import configuration, registry
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.quick import QuickLook
from otn_dagster.live.schema import Schema

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A dataset as the service serves it."""

    dataset: Dataset
    schema: Schema
    version: int
    quick: QuickLook
    disabled: str | None
    unpublished: str | None

    @property
    def most_bytes(self) -> int:
        """The largest body."""
        return int(self.dataset.limits.body_mb * 1_000_000)


class Datasets(dict[str, Served]):
    """All datasets that are served, by name; files are read again only where one of them changed."""

    def __init__(self) -> None:
        """Empty until ``look``."""
        super().__init__()
        self._stamp: object = None

    def look(self, connection: psycopg.Connection) -> None:
        """Read configuration that changed, and the switches that people turned."""
        stamp = configuration.stamp_of()
        changed = self._stamp is None or stamp != self._stamp
        found = configuration.load_live() if changed else None
        datasets = found.datasets if found else {name: one.dataset for name, one in self.items()}
        for problem in found.problems.values() if found else []:
            logger.warning("not served: %s", problem)
        now = {name: self._serve(connection, dataset, changed) for name, dataset in datasets.items()}
        for gone in set(self) - set(now):
            del self[gone]
        self.update(now)
        self._stamp = stamp

    def _serve(self, connection: psycopg.Connection, dataset: Dataset, changed: bool) -> Served:
        before = self.get(dataset.name)
        if before and not changed:
            now = registry.switches(connection, dataset)
            return Served(dataset, before.schema, before.version, before.quick, now.disabled, now.unpublished)
        version = registry.register(connection, dataset)
        now = registry.switches(connection, dataset)
        schema = dataset.schema_
        quick = before.quick if before and before.schema == schema else QuickLook(schema)
        return Served(dataset, schema, version, quick, now.disabled, now.unpublished)
