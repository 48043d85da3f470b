"""What people leave out of a push, by name and with a reason, and take in again.

Belongs here: the rows of ``platform.push_exclusions``. Does not belong here: what a push does without it (``leaving_out.py``).

Source: OTN's matching notebooks take a list of tracker codes to include or exclude, by the open tickets of their tags.
"""

import datetime as dt
from dataclasses import dataclass
from typing import LiteralString

from psycopg.rows import class_row

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.telemetry.push import snapshot
from otn_dagster.telemetry.push.left_out import LeftOut, Scope, Why

_KNOWN: dict[Scope, LiteralString] = {
    Scope.SUBMISSION: "select 1 from platform.submissions where submission_key = %s and state not in ('superseded')",
    Scope.TRACKER: "select 1 from obis.otn_resources where collectioncode = %s",
    Scope.PROJECT: "select 1 from obis.otn_resources where collectioncode = %s",
}


@dataclass(frozen=True)
class Exclusion:
    """One thing that somebody leaves out of one push."""

    push_date: dt.date
    scope: str
    subject: str
    decided_by: str
    why: str
    decided_at: dt.datetime


def add(
    connection: Connection, settings: Settings, push_date: str, scope: Scope, subject: str, who: str, why: str
) -> None:
    """Leave something out of a push that is not frozen yet. Safe to repeat: the first reason stands.

    Raises Unknown where there is no such thing, Unusable where the push is frozen.
    """
    _still_open(settings, push_date)
    if connection.execute(_KNOWN[scope], [subject]).fetchone() is None:
        raise Unknown(
            f"no {scope} {subject!r} is loaded; give a collection code, or a submission as the board shows it"
        )
    if scope is Scope.SUBMISSION and subject in in_last_push(settings, push_date):
        raise Unusable(
            f"the last push has {subject}: withdraw it, or send a correction; what is left out stays as the last push had it"
        )
    connection.execute(
        "insert into platform.push_exclusions (push_date, scope, subject, decided_by, why) values (%s, %s, %s, %s, %s)"
        " on conflict (push_date, scope, subject) where ended_at is null do nothing",
        [push_date, scope, subject, who, why],
    )


def end(
    connection: Connection, settings: Settings, push_date: str, scope: Scope, subject: str, who: str, why: str
) -> None:
    """Take it in again. Raises Unknown where it is not left out, Unusable where the push is frozen."""
    _still_open(settings, push_date)
    ended = connection.execute(
        "update platform.push_exclusions set ended_at = platform.now(), ended_by = %s, ended_why = %s"
        " where push_date = %s and scope = %s and subject = %s and ended_at is null",
        [who, why, push_date, scope, subject],
    )
    if not ended.rowcount:
        raise Unknown(f"{scope} {subject!r} is not left out of the push of {push_date}")


def in_last_push(settings: Settings, push_date: str) -> set[str]:
    """Keys of the submissions that the last real push before this one has: leaving one of them out changes nothing."""
    date = snapshot.previous(settings, push_date)
    return set(snapshot.read(settings, date).pushed()["submission_key"]) if date else set()


def _still_open(settings: Settings, push_date: str) -> None:
    try:
        frozen = snapshot.read(settings, push_date)
    except snapshot.NothingToPush:
        return
    if not frozen.rehearsal:
        raise Unusable(f"the push of {push_date} is frozen: what is in it is decided; name the next push date")


def of(connection: Connection, push_date: str) -> list[Exclusion]:
    """What is left out of a push by name, the oldest first."""
    with connection.cursor(row_factory=class_row(Exclusion)) as cursor:
        return cursor.execute(
            "select push_date, scope, subject, decided_by, why, decided_at from platform.push_exclusions"
            " where push_date = %s and ended_at is null order by exclusion_id",
            [push_date],
        ).fetchall()


def left_out(connection: Connection, push_date: str) -> list[LeftOut]:
    """The same, as a push takes it."""
    return [
        LeftOut(Scope(one.scope), one.subject, Why.EXCLUDED, f"{one.decided_by} left it out: {one.why}")
        for one in of(connection, push_date)
    ]
