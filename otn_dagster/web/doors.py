"""Ways to the database: one for those who push, one for readers, one for visitors, each with connections of its own.

Belongs here: pools, and how many may come at once. Does not belong here: what is asked.

Readers never keep pushes waiting, visitors neither of the two. A pool finds the database again by itself, however long it was away.
"""

import logging
from collections.abc import Callable

import psycopg
from anyio import CapacityLimiter, to_thread
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.concurrency import run_in_threadpool

from otn_dagster.web.answers import Refused

logger = logging.getLogger(__name__)
SECONDS_TO_A_CONNECTION = 5.0
MOST_PUSHERS, MOST_READERS, MOST_VISITORS, MOST_MAKERS, MOST_WAITING = 8, 3, 4, 2, 30
AWAY = (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError)


class Doors:
    """The pools of one process, closed until ``open`` is called."""

    def __init__(self, url: str):
        """``url`` is that of the database, its schema up to date."""
        self.pushers, self.readers, self.visitors = (_pool(url, n) for n in (MOST_PUSHERS, MOST_READERS, MOST_VISITORS))
        self._reading, self._visiting = CapacityLimiter(MOST_READERS), CapacityLimiter(MOST_VISITORS)
        self._making = CapacityLimiter(MOST_MAKERS)

    async def open(self) -> None:
        """Connect; raises PoolTimeout where the database does not answer within half a minute."""
        for pool in (self.pushers, self.readers, self.visitors):
            await run_in_threadpool(pool.open, True, 30.0)

    async def close(self) -> None:
        """Disconnect."""
        for pool in (self.pushers, self.readers, self.visitors):
            await run_in_threadpool(pool.close)

    async def query[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask for somebody who pushes, in one transaction; raises Refused where the database cannot be reached."""
        try:
            return await run_in_threadpool(_asked, self.pushers, ask)
        except AWAY as error:
            if isinstance(error, psycopg.errors.DiskFull):
                raise Refused("storage_full", retry_after=60) from None
            raise Refused("unavailable", retry_after=2) from None

    async def read[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask for a reader: few at once."""
        if self._reading.statistics().tasks_waiting >= MOST_WAITING:
            raise Refused("busy", "too many are reading")
        try:
            return await to_thread.run_sync(_asked, self.readers, ask, limiter=self._reading)
        except AWAY as error:
            logger.warning("a reader was not answered: %s", error)
            why = "the question took too long, or the database cannot be reached"
            raise Refused("unavailable", why, retry_after=2) from None

    async def visit[Result](self, ask: Callable[[psycopg.Connection], Result]) -> Result:
        """Ask or act for a person who visits a page: for some seconds at most."""
        if self._visiting.statistics().tasks_waiting >= MOST_WAITING:
            raise Refused("busy", "too many are visiting")

        def in_time(connection: psycopg.Connection) -> Result:
            connection.execute("set local statement_timeout = '20s'")
            return ask(connection)

        try:
            return await to_thread.run_sync(_asked, self.visitors, in_time, limiter=self._visiting)
        except AWAY as error:
            logger.warning("a visitor was not answered: %s", error)
            raise Refused(
                "unavailable", "this took too long, or the database cannot be reached", retry_after=2
            ) from None

    async def make[Result](self, made: Callable[[], Result]) -> Result:
        """Make a page or a list in a thread, few at once."""
        if self._making.statistics().tasks_waiting >= MOST_WAITING:
            raise Refused("busy", "too many are visiting")
        return await to_thread.run_sync(made, limiter=self._making)


def _asked[Result](pool: ConnectionPool, ask: Callable[[psycopg.Connection], Result]) -> Result:
    with pool.connection() as connection:
        return ask(connection)


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
