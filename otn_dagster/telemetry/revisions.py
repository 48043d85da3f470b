"""What is let into a push after its cut-off, and snapshots that are made again for it.

Belongs here: the rows of ``platform.push_admissions`` and ``push_revisions``. Does not belong here: the lock on loading (``cutoffs.py``), making
a snapshot (``push/snapshot.py``), who may ask when (``tracker/mending.py``).
"""

import datetime as dt
from dataclasses import dataclass

from psycopg.rows import class_row

from otn_dagster import calendar
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.explained import Unknown, Unusable


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
class Admission:
    """A submission that was let into a push after its cut-off: by whom, why, whether it is loaded."""

    submission_key: str
    submission_no: int
    state: str
    admitted_by: str
    why: str


def admissions(connection: Connection, push_date: str) -> list[Admission]:
    """What was let into a push, in order."""
    with connection.cursor(row_factory=class_row(Admission)) as cursor:
        return cursor.execute(
            "select submission_key, submission_no, state, admitted_by, why from platform.push_admissions"
            " join platform.submissions using (submission_key) where push_date = %s order by admitted_at, submission_no",
            [push_date],
        ).fetchall()


@dataclass(frozen=True)
class Revision:
    """A snapshot that is made again: who asked for it, and why."""

    revision: int
    asked_by: str
    why: str


def ask(connection: Connection, push_date: str, who: str, why: str) -> int:
    """Ask for the next revision of a push's snapshot; its number. The step that freezes makes it when it runs again."""
    row = connection.execute(
        "insert into platform.push_revisions (push_date, revision, asked_by, why)"
        " select %s, coalesce(max(revision), 1) + 1, %s, %s from platform.push_revisions where push_date = %s returning revision",
        [push_date, who, why, push_date],
    ).fetchone()
    assert row is not None
    return row[0]


def of(connection: Connection, push_date: str) -> list[Revision]:
    """Revisions of a push that were asked for, in order; none for most pushes, whose snapshot is the first and only one."""
    with connection.cursor(row_factory=class_row(Revision)) as cursor:
        return cursor.execute(
            "select revision, asked_by, why from platform.push_revisions where push_date = %s order by revision",
            [push_date],
        ).fetchall()


def unreleased(connection: Connection) -> list[tuple[str, int]]:
    """(push date, number of its last revision that was asked for) of pushes that are not released."""
    rows = connection.execute(
        "select push_date::text, max(revision) from platform.push_revisions r"
        " where not exists (select 1 from platform.push_releases p where p.push_date = r.push_date) group by 1 order by 1"
    ).fetchall()
    return [(date, number) for date, number in rows]
