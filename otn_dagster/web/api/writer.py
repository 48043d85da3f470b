"""The one writer of the log: pushes of many requests become durable together.

Belongs here: gathering, bounds, what each request is told. Does not belong here: SQL (``live/log.py``), HTTP.

At most one transaction is under way; whatever comes meanwhile joins the next. So a slow disk makes groups larger, not requests
fewer. Memory is bounded: beyond it a push is refused as busy.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from otn_dagster.live import log as live_log
from otn_dagster.live.log import KeyEnded, Logged, NotLogged, OtherBody, Push, PushDisabled, Refusal
from otn_dagster.web.answers import Refused

logger = logging.getLogger(__name__)

MOST_PENDING_BYTES = 64_000_000
MOST_IN_GROUP, MOST_GROUP_BYTES = 1_000, 8_000_000
MOST_REFUSALS_PENDING = 1_000
MINUTE = 60.0
COST_OF_A_PUSH = 1_000  # bytes beside its body
WHY = {KeyEnded: "bad_key", PushDisabled: "push_disabled", OtherBody: "idempotency_mismatch"}


@dataclass
class _Pending:
    push: Push
    answer: "asyncio.Future[Logged]"

    @property
    def size(self) -> int:
        aside = sum(len(body or b"") + COST_OF_A_PUSH for _, body in self.push.faults)
        return len(self.push.body or b"") + aside + COST_OF_A_PUSH


class Writer:
    """Groups pushes into transactions on a connection of its own."""

    def __init__(self, connect: Callable[[], psycopg.Connection], most_pending_bytes: int = MOST_PENDING_BYTES):
        """``connect`` opens a connection to the node database."""
        self._connect, self._most = connect, most_pending_bytes
        self._connection: psycopg.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "log-writer")
        self._pending: deque[_Pending] = deque()
        self._refusals: list[Refusal] = []
        self._told: dict[tuple[str, str], float] = {}
        self._bytes = 0
        self._task: asyncio.Task | None = None

    async def append(self, push: Push) -> Logged:
        """Return once the push is durable. Raises Refused: busy, unavailable, storage_full, or why it was not kept."""
        pending = _Pending(push, asyncio.get_running_loop().create_future())
        if self._bytes + pending.size > self._most:
            raise Refused("busy")
        self._bytes += pending.size
        self._pending.append(pending)
        self._wake()
        return await pending.answer

    def note(self, refusal: Refusal) -> None:
        """Write down a refused push with the next group; more than a thousand waiting are counted, not kept."""
        if refusal.code == "quota":  # told once a minute: refusing must cost less than taking
            last = self._told.get((refusal.dataset, refusal.author), -MINUTE)
            if time.monotonic() < last + MINUTE:
                return
            self._told[refusal.dataset, refusal.author] = time.monotonic()
        if len(self._refusals) < MOST_REFUSALS_PENDING:
            self._refusals.append(refusal)
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Return once nothing is pending."""
        while self._task and not self._task.done():
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=True)
        if self._connection:
            self._connection.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending or self._refusals:
            group, refusals = self._next_group()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._flush, [p.push for p in group], refusals)
            except Exception as error:  # whatever happens, every request of the group is answered
                logger.exception("the log could not be written")
                outcomes = [error] * len(group)
            for pending, outcome in zip(group, outcomes, strict=True):
                self._bytes -= pending.size
                if pending.answer.done():
                    continue
                if isinstance(outcome, Logged):
                    pending.answer.set_result(outcome)
                else:
                    pending.answer.set_exception(_refused(outcome))

    def _next_group(self) -> tuple[list[_Pending], list[Refusal]]:
        group, size = [], 0
        while (
            self._pending
            and len(group) < MOST_IN_GROUP
            and (not group or size + self._pending[0].size <= MOST_GROUP_BYTES)
        ):
            pending = self._pending.popleft()
            size += pending.size
            group.append(pending)
        refusals, self._refusals = self._refusals, []
        return group, refusals

    def _flush(self, pushes: list[Push], refusals: list[Refusal]) -> list[Logged | Exception]:
        outcomes = self._keep(pushes) if pushes else []
        if refusals:
            self._note(refusals)
        return outcomes

    def _keep(self, pushes: list[Push]) -> list[Logged | Exception]:
        """One transaction for all; where something in it is wrong, one for each, so that one cannot fail the others."""
        try:
            return self._transaction(pushes)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._forget()
            return [error] * len(pushes)
        except psycopg.Error:
            logger.exception("a group could not be written; its pushes are tried one by one")
            return [self._alone(push) for push in pushes]

    def _alone(self, push: Push) -> Logged | Exception:
        try:
            return self._transaction([push])[0]
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                self._forget()
            return error

    def _note(self, refusals: list[Refusal]) -> None:
        """In a transaction of its own: whatever happens to a note, pushes are not concerned."""
        try:
            connection = self._open()
            with connection.transaction():
                live_log.note_refusals(connection, refusals)
        except psycopg.Error as error:
            logger.warning("refusals could not be noted: %s", error)
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                self._forget()

    def _transaction(self, pushes: list[Push]) -> list[Logged | Exception]:
        connection = self._open()
        with connection.transaction():
            return list(live_log.append(connection, pushes))

    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            # A server may be set to answer before the disk has it; this session is not.
            self._connection.execute("set synchronous_commit = on")
            self._connection.execute("set statement_timeout = '60s'")
            self._connection.commit()
        return self._connection

    def _forget(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _refused(outcome: Exception) -> Refused:
    """What a request is told whose push was not kept."""
    if isinstance(outcome, NotLogged):
        return Refused(WHY[type(outcome)])
    if isinstance(outcome, psycopg.errors.DiskFull):
        return Refused("storage_full", retry_after=60)
    if isinstance(outcome, psycopg.OperationalError | psycopg.InterfaceError):
        return Refused("unavailable", retry_after=2)
    return Refused("internal", f"the push was not kept: {type(outcome).__name__}")
