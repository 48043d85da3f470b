"""The push calendar in the database: which cut-offs are announced, and the lock on loading that follows from them.

Belongs here: rows of ``platform.push_cutoffs`` and what they forbid. Does not belong here: dates (``calendar.py``),
what a push computes (``telemetry/``).

A cut-off's row is made as soon as its date is known, long before it comes. From that instant until the push is finished
loading obeys the row, whether or not any daemon was awake: the lock is a fact in the database, not an action.
"""

import datetime as dt

from otn_dagster import calendar
from otn_dagster.config import Settings
from otn_dagster.database import LOADING_LOCK, Connection
from otn_dagster.explained import Explained


class LoadingLocked(Explained, RuntimeError):
    """Loading is closed for a push; the submission waits for the next one."""

    def __init__(self, node: str, push_date: str):
        """Which node is locked for which push."""
        self.node, self.push_date = node, push_date
        super().__init__(
            f"loading into {node} is locked for the push of {push_date} until that push is finished; "
            "nothing was written, the submission waits. Run the push, or `otn-dagster unlock` if it will not be run; an analyst lets in "
            "what the push itself needs with `otn-dagster admit`."
        )


def now(connection: Connection) -> dt.datetime:
    """The platform's clock, in UTC: the database's, or the drill's where one is under way."""
    row = connection.execute("select platform.now()").fetchone()
    assert row is not None
    return row[0].astimezone(dt.UTC)


def announce(connection: Connection, settings: Settings) -> None:
    """Write down every cut-off that still lies ahead. Safe to repeat: rows that exist are left alone, except that a
    date which is no longer in the calendar and has not come yet is withdrawn.
    """
    at = now(connection)
    dates = calendar.push_dates(settings.pushes, at.date())
    ahead = [
        (date, node.code, calendar.cutoff(date, node.time_zone))
        for date in dates
        for node in settings.nodes
        if calendar.cutoff(date, node.time_zone) > at
    ]
    connection.execute(
        "delete from platform.push_cutoffs where cutoff > platform.now() and not push_date = any(%s)",
        [[dt.date.fromisoformat(date) for date, _, _ in ahead]],
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.push_cutoffs (push_date, node, cutoff) values (%s, %s, %s) on conflict do nothing",
            ahead,
        )


def loading_allowed(connection: Connection, settings: Settings, node: str, submission_key: str) -> None:
    """Raise LoadingLocked where a cut-off of this node has passed and its push has not finished, unless somebody let this submission in
    (``revisions.py``).

    Call it first in every transaction that writes what a snapshot reads: it also holds off a snapshot until the
    transaction ends.
    """
    connection.execute("select pg_advisory_xact_lock_shared(%s)", [LOADING_LOCK])
    announce(connection, settings)
    refuse_where_locked(connection, node, submission_key)


def refuse_where_locked(connection: Connection, node: str, submission_key: str) -> None:
    """The same for what writes rows of a submission otherwise than by loading it: cut-offs are announced already."""
    connection.execute("select pg_advisory_xact_lock_shared(%s)", [LOADING_LOCK])
    row = connection.execute(
        "select push_date from platform.push_cutoffs c where node = %s and cutoff <= platform.now() and finished_at is null"
        " and not exists (select 1 from platform.push_admissions a where a.push_date = c.push_date and a.submission_key = %s)"
        " order by push_date limit 1",
        [node, submission_key],
    ).fetchone()
    if row:
        raise LoadingLocked(node, row[0].isoformat())


def wait_for_loading(connection: Connection) -> None:
    """Wait until no loading transaction is open, and keep new ones out until this transaction ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", [LOADING_LOCK])


def is_rehearsal(connection: Connection, settings: Settings, push_date: str) -> bool:
    """True until the last node's cut-off has passed."""
    last = max(calendar.cutoff(push_date, node.time_zone) for node in settings.nodes)
    return now(connection) < last


def finish(connection: Connection, push_date: str, why: str) -> int:
    """Unlock loading after a push; returns how many nodes were locked. Safe to repeat: the first finish stands."""
    return connection.execute(
        "update platform.push_cutoffs set finished_at = platform.now(), finished_why = %s"
        " where push_date = %s and cutoff <= platform.now() and finished_at is null",
        [why, push_date],
    ).rowcount


def locked(connection: Connection) -> list[tuple[str, str]]:
    """(push date, node) pairs for which loading is locked now."""
    rows = connection.execute(
        "select push_date, node from platform.push_cutoffs where cutoff <= platform.now() and finished_at is null order by 1, 2"
    ).fetchall()
    return [(date.isoformat(), node) for date, node in rows]


def set_drill_clock(connection: Connection, at: dt.datetime | None) -> None:
    """Make the platform believe that it is another time (a drill, a demo), or stop believing it (None)."""
    connection.execute("delete from platform.drill_clock")
    if at is not None:
        connection.execute("insert into platform.drill_clock values (%s)", [at])


def reminder(connection: Connection, push_date: str) -> dict[str, object]:
    """What a node manager should know before a push: the cut-offs, and what is not loaded yet."""
    cutoffs = connection.execute(
        "select node, cutoff from platform.push_cutoffs where push_date = %s order by cutoff, node",
        [push_date],
    ).fetchall()
    open_files = connection.execute(
        "select state, count(*), min(submission_key) from platform.submissions where state not in ('loaded', 'superseded') group by 1 order by 1"
    ).fetchall()
    questions = connection.execute("select count(*) from platform.decisions where decision is null").fetchone()
    assert questions is not None
    return {
        "cut-offs (UTC)": "\n".join(f"{node}: {at.astimezone(dt.UTC):%Y-%m-%d %H:%M}" for node, at in cutoffs)
        or "passed",
        "open submissions": "\n".join(f"{state}: {count} (e.g. {key})" for state, count, key in open_files) or "none",
        "questions for a person": questions[0],
    }


def next_push(connection: Connection, node: str, at: dt.datetime | None) -> dt.date | None:
    """The first push of a node whose cut-off comes after a moment (None: now) and that has not ended."""
    row = connection.execute(
        "select min(push_date) from platform.push_cutoffs where node = %s and cutoff >= coalesce(%s, platform.now())"
        " and finished_at is null",
        [node, at],
    ).fetchone()
    return row[0] if row else None
