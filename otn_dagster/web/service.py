"""What all requests of one process share: doors to the database, datasets, keys, the writer, bounds.

Belongs here: putting these together, and keeping them up to date. Does not belong here: routes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import psycopg
from starlette.concurrency import run_in_threadpool

from otn_dagster import database
from otn_dagster.config import BadConfiguration, Settings
from otn_dagster.live import history
from otn_dagster.tracker.configuration import load_tracker
from otn_dagster.web.api.bodies import Budget
from otn_dagster.web.api.quotas import Quotas
from otn_dagster.web.api.writer import Writer
from otn_dagster.web.credentials import Keys, Sessions
from otn_dagster.web.doors import Doors
from otn_dagster.web.served import Datasets

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 2.0
KEYLESS_BYTES = 2_000_000


class Service:
    """State of one process of the service."""

    writer: Writer  # from ``start`` on

    def __init__(self, settings: Settings, make_writer: Callable[[Callable[[], psycopg.Connection]], Writer] = Writer):
        """Starts the embedded server where none is configured. ``make_writer`` lets tests and benchmarks see another writer."""
        url = database.ready(database.database_url(settings))
        self.settings, self.tracker = settings, load_tracker()
        self.doors, self.datasets, self.sessions = Doors(url), Datasets(), Sessions()
        self.keys = Keys(self.doors)
        self.quotas, self.budget = Quotas(), Budget()
        self.keyless_budget = Budget(KEYLESS_BYTES, share=1)
        self.exports = 0
        self.ready_until = 0.0
        self._connect, self._make_writer = lambda: psycopg.connect(url, connect_timeout=5), make_writer
        self._watcher: asyncio.Task | None = None

    async def start(self) -> None:
        """Open the database, read the configuration, keep it up to date."""
        await self.doors.open()
        self.writer = self._make_writer(self._connect)
        await run_in_threadpool(self.refresh)
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let what is pending become durable, then close."""
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self.writer.drain()
        await self.doors.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                await run_in_threadpool(self.refresh)
            except Exception as error:  # what is served stays as it was
                logger.warning("the configuration could not be looked at: %s", error)

    def refresh(self) -> None:
        """Take up configuration and switches that changed. Safe to repeat."""
        try:
            self.tracker = load_tracker()
        except BadConfiguration as error:  # nothing more is opened than before
            logger.warning("the tracker goes on with its settings of before: %s", error)
        with self.doors.pushers.connection() as connection:
            self.datasets.look(connection)

    async def load_usage(self, kid: str) -> None:
        """Start the day's counts of a key from what is durable."""
        if self.quotas.knows(kid):
            return
        used = await self.doors.query(lambda connection: history.used_today(connection, kid))
        if not self.quotas.knows(kid):
            self.quotas.load(kid, *used)
