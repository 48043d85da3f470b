"""The push calendar in the database: which cut-offs are announced, and the lock on loading that follows from them.

Belongs here: rows of ``platform.push_cutoffs`` and what they forbid, what is let in all the same (``push_admissions``), and which
snapshots are made again for it (``push_revisions``). Does not belong here: dates (``calendar.py``),
what a push computes (``telemetry/``).

A cut-off's row is made as soon as its date is known, long before it comes. From that instant until the push is finished
loading obeys the row, whether or not any daemon was awake: the lock is a fact in the database, not an action.
"""

import datetime as dt
from dataclasses import dataclass

from psycopg.rows import class_row

from otn_dagster import calendar
from otn_dagster.config import Settings
from otn_dagster.database import LOADING_LOCK, Connection
from otn_dagster.explained import Explained, Unknown, Unusable


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
    """Raise LoadingLocked where a cut-off of this node has passed and its push has not finished, and nobody let this submission in.

    Call it first in every transaction that writes what a snapshot reads: it also holds off a snapshot until the
    transaction ends.
    """
    connection.execute("select pg_advisory_xact_lock_shared(%s)", [LOADING_LOCK])
    announce(connection, settings)
    row = connection.execute(
        "select push_date from platform.push_cutoffs c where node = %s and cutoff <= platform.now() and finished_at is null"
        " and not exists (select 1 from platform.push_admissions a where a.push_date = c.push_date and a.submission_key = %s)"
        " order by push_date limit 1",
        [node, submission_key],
    ).fetchone()
    if row:
        raise LoadingLocked(node, row[0].isoformat())


def admit(connection: Connection, submission_key: str, who: str, why: str, signed_off: bool = True) -> str:
    """Let one submission into the push under way although its cut-off is past; which push that is.

    That push is the newest whose cut-off has passed and that nobody released. While it locks loading the submission may be loaded; where
    it was loaded since, the push's next revision has it. Safe to repeat: the first reason stands. Raises Unknown for no submission,
    Unusable where there is no such push, or where the submission is in it or cannot be loaded.
    """
    row = connection.execute(
        "select node, state, loaded_at from platform.submissions where submission_key = %s", [submission_key]
    ).fetchone()
    if row is None:
        raise Unknown(f"no submission {submission_key!r}; give its key as the board shows it")
    node, state, loaded_at = row
    found = connection.execute(
        "select push_date, cutoff, exists (select 1 from platform.push_releases r where r.push_date = c.push_date)"
        " from platform.push_cutoffs c where node = %s and cutoff <= platform.now() order by push_date desc limit 1",
        [node],
    ).fetchone()
    if found is None or found[2]:
        raise Unusable(f"{submission_key} need not be let in: no push of {node} is under way")
    push_date, cutoff, _ = found
    in_it = loaded_at and loaded_at <= cutoff and signed_off
    if state not in ("received", "waiting", "held", "loaded") or in_it:
        what = "was loaded before its cut-off" if loaded_at else f"is {state}"
        raise Unusable(f"{submission_key} cannot be let into the push of {push_date}: it {what}")
    connection.execute(
        "insert into platform.push_admissions (push_date, submission_key, admitted_by, why) values (%s, %s, %s, %s) on conflict do nothing",
        [push_date, submission_key, who, why],
    )
    return push_date.isoformat()


def late(connection: Connection, settings: Settings, push_date: str) -> list[str]:
    """Submissions that were loaded after the last cut-off of a push, and that nobody let into it."""
    last = max(calendar.cutoff(push_date, node.time_zone) for node in settings.nodes)
    rows = connection.execute(
        "select submission_key from platform.submissions s where loaded_at > %s and not exists"
        " (select 1 from platform.push_admissions a where a.push_date = %s and a.submission_key = s.submission_key) order by submission_no",
        [last, push_date],
    ).fetchall()
    return [key for (key,) in rows]


def admitted(connection: Connection, submission_key: str) -> dt.date | None:
    """The push for which a submission was let in; None for most."""
    row = connection.execute(
        "select max(push_date) from platform.push_admissions where submission_key = %s", [submission_key]
    ).fetchone()
    return row[0] if row else None


@dataclass(frozen=True)
class Revision:
    """A snapshot that is made again: who asked for it, and why."""

    revision: int
    asked_by: str
    why: str


def ask_revision(connection: Connection, push_date: str, who: str, why: str) -> int:
    """Ask for the next revision of a push's snapshot; its number. The step that freezes makes it when it runs again."""
    row = connection.execute(
        "insert into platform.push_revisions (push_date, revision, asked_by, why)"
        " select %s, coalesce(max(revision), 1) + 1, %s, %s from platform.push_revisions where push_date = %s returning revision",
        [push_date, who, why, push_date],
    ).fetchone()
    assert row is not None
    return row[0]


def revisions(connection: Connection, push_date: str) -> list[Revision]:
    """Revisions of a push that were asked for, in order; none for most pushes, whose snapshot is the first and only one."""
    with connection.cursor(row_factory=class_row(Revision)) as cursor:
        return cursor.execute(
            "select revision, asked_by, why from platform.push_revisions where push_date = %s order by revision",
            [push_date],
        ).fetchall()


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
