"""What all requests share: the datasets as they are configured now, keys, the writer, bounds.

Belongs here: state of the process and how it is kept up to date. Does not belong here: routes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from anyio import CapacityLimiter, to_thread
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.concurrency import run_in_threadpool

from otn_dagster import database
from otn_dagster.config import BadConfiguration, Settings
from otn_dagster.live import configuration, history, keys, registry
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.keys import Key
from otn_dagster.live.quick import QuickLook
from otn_dagster.live.schema import Schema
from otn_dagster.tracker.configuration import load_tracker
from otn_dagster.web.answers import Refused
from otn_dagster.web.api.bodies import Budget
from otn_dagster.web.api.quotas import Quotas
from otn_dagster.web.api.writer import Writer

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 2.0
KEY_SECONDS = 5.0
SECONDS_TO_A_CONNECTION = 5.0
MOST_READERS, MOST_READERS_WAITING = 3, 30
MOST_VISITORS, MOST_MAKERS, MOST_SESSIONS = 4, 2, 10_000
KEYLESS_BYTES = 2_000_000


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


class Service:
    """State of one process of the service."""

    def __init__(self, settings: Settings, make_writer: Callable[[Callable[[], psycopg.Connection]], Writer] = Writer):
        """``make_writer`` lets tests and benchmarks see what another writer would do."""
        self.settings = settings
        self.quotas, self.budget = Quotas(), Budget()
        self.keyless_budget = Budget(KEYLESS_BYTES, share=1)
        self.exports = 0
        self.ready_until = 0.0
        self.served: dict[str, Served] = {}
        self.tracker = load_tracker()
        self._make_writer = make_writer
        self._stamp: object = None
        self._sessions: dict[str, float] = {}
        self._keys: dict[str, tuple[Key | None, float]] = {}
        self._watcher: asyncio.Task | None = None

    async def start(self) -> None:
        """Open the database, read the configuration, keep it up to date."""
        url = await run_in_threadpool(lambda: database.ready(database.database_url(self.settings)))
        self.pool, self.read_pool, self.visit_pool = _pool(url, 8), _pool(url, MOST_READERS), _pool(url, MOST_VISITORS)
        self._readers, self._visitors = CapacityLimiter(MOST_READERS), CapacityLimiter(MOST_VISITORS)
        self._makers = CapacityLimiter(MOST_MAKERS)
        for pool in (self.pool, self.read_pool, self.visit_pool):
            await run_in_threadpool(pool.open, True, 30.0)
        self.writer = self._make_writer(lambda: psycopg.connect(url, connect_timeout=5))
        await run_in_threadpool(self._look, True)
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let what is pending become durable, then close."""
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self.writer.drain()
        for pool in (self.pool, self.read_pool, self.visit_pool):
            await run_in_threadpool(pool.close)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                await run_in_threadpool(self._look, False)
            except Exception as error:  # what is served stays as it was
                logger.warning("the configuration could not be looked at: %s", error)

    def _look(self, first: bool) -> None:
        """Read configuration that changed, and the switches that people turned."""
        self._look_at_tracker()
        stamp = configuration.stamp_of()
        changed = first or stamp != self._stamp
        found = configuration.load_live() if changed else None
        datasets = found.datasets if found else {name: one.dataset for name, one in self.served.items()}
        for problem in found.problems.values() if found else []:
            logger.warning("not served: %s", problem)
        served: dict[str, Served] = {}
        with self.pool.connection() as connection:
            for name, dataset in datasets.items():
                served[name] = self._serve(connection, dataset, changed)
        self.served, self._stamp = served, stamp

    def _look_at_tracker(self) -> None:
        try:
            self.tracker = load_tracker()
        except BadConfiguration as error:  # nothing more is opened than before
            logger.warning("the tracker goes on with its settings of before: %s", error)

    def _serve(self, connection: psycopg.Connection, dataset: Dataset, changed: bool) -> Served:
        before = self.served.get(dataset.name)
        if before and not changed:
            now = registry.switches(connection, dataset)
            return Served(dataset, before.schema, before.version, before.quick, now.disabled, now.unpublished)
        version = registry.register(connection, dataset)
        now = registry.switches(connection, dataset)
        schema = dataset.schema_
        quick = before.quick if before and before.schema == schema else QuickLook(schema)
        return Served(dataset, schema, version, quick, now.disabled, now.unpublished)

    async def read[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask for a reader: few at once, on connections of their own, so that readers never keep pushes waiting."""
        if self._readers.statistics().tasks_waiting >= MOST_READERS_WAITING:
            raise Refused("busy", "too many are reading")
        try:
            return await to_thread.run_sync(self._ask, self.read_pool, ask, limiter=self._readers)
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            logger.warning("a reader was not answered: %s", error)
            raise Refused(
                "unavailable", "the question took too long, or the database cannot be reached", retry_after=2
            ) from None

    async def visit[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask or act for a person who visits a page: on connections of their own, and for some seconds at most."""
        if self._visitors.statistics().tasks_waiting >= MOST_READERS_WAITING:
            raise Refused("busy", "too many are visiting")

        def asked(connection: psycopg.Connection) -> Result:
            connection.execute("set local statement_timeout = '20s'")
            return ask(connection)

        try:
            return await to_thread.run_sync(self._ask, self.visit_pool, asked, limiter=self._visitors)
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            logger.warning("a visitor was not answered: %s", error)
            raise Refused(
                "unavailable", "this took too long, or the database cannot be reached", retry_after=2
            ) from None

    async def make[Result](self, made: Callable[[], Result]) -> Result:
        """Make a page or a list in a thread, few at once."""
        if self._makers.statistics().tasks_waiting >= MOST_READERS_WAITING:
            raise Refused("busy", "too many are visiting")
        return await to_thread.run_sync(made, limiter=self._makers)

    def knows_session(self, token: str | None) -> bool:
        """Whether a session was good a moment ago: who has one does not share what strangers may ask."""
        return token is not None and self._sessions.get(token, 0.0) > time.monotonic()

    def remember_session(self, token: str | None, good: bool) -> None:
        """What was found when it was looked up."""
        if token and good:
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[token] = time.monotonic() + KEY_SECONDS
        elif token:
            self._sessions.pop(token, None)

    async def query[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask the database in a thread, in one transaction; raises Refused where it cannot be reached."""
        try:
            return await run_in_threadpool(self._ask, self.pool, ask)
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            if isinstance(error, psycopg.errors.DiskFull):
                raise Refused("storage_full", retry_after=60) from None
            raise Refused("unavailable", retry_after=2) from None

    def _ask[Result](self, pool: ConnectionPool, ask: Callable[[psycopg.Connection], Result]) -> Result:
        with pool.connection() as connection:
            return ask(connection)

    async def key_of(self, token: str) -> Key:
        """The live key of a token; raises Refused. What is known is some seconds old; the log looks again."""
        parts = keys.split(token)
        if parts is None:
            raise Refused("bad_key")
        kid, secret = parts
        known = self._keys.get(kid)
        if known is None or known[1] < time.monotonic():
            known = (await self.query(lambda connection: keys.find(connection, kid)), time.monotonic() + KEY_SECONDS)
            if known[0] is not None:  # what strangers make up is not remembered
                self._keys[kid] = known
        key = known[0]
        if key is None or not keys.opens(key, secret) or key.state != "live":
            raise Refused("bad_key")
        return key

    async def load_usage(self, kid: str) -> None:
        """Start the day's counts of a key from what is durable."""
        if self.quotas.knows(kid):
            return
        used = await self.query(lambda connection: history.used_today(connection, kid))
        if not self.quotas.knows(kid):
            self.quotas.load(kid, *used)


def _pool(url: str, size: int) -> ConnectionPool:
    return ConnectionPool(
        url,
        min_size=1,
        max_size=size,
        timeout=SECONDS_TO_A_CONNECTION,
        open=False,
        configure=_in_utc,
        check=ConnectionPool.check_connection,
    )


def _in_utc(connection: psycopg.Connection) -> None:
    connection.execute("set time zone 'UTC'")
    connection.execute("set statement_timeout = '120s'")
    connection.commit()
