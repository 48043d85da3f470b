"""The release of a push: between its certificate and its mails a person looks, and lets it go out.

Belongs here: the rows of ``platform.push_releases``, and what a person looks at before. Does not belong here: mails (``mail/``), what is
unusual in a push (``telemetry/push/unusual.py``).

Until a real push is released its mails are written and wait, and its extracts are read by managers and analysts alone.
"""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from psycopg.rows import class_row

from otn_dagster.config import Settings
from otn_dagster.database import PUSH_LOCKS, Connection, lock_for
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import cutoffs, revisions
from otn_dagster.telemetry.push import snapshot, unusual
from otn_dagster.telemetry.push.attention import in_words, read_warnings
from otn_dagster.telemetry.push.certificate import CERTIFICATE
from otn_dagster.telemetry.push.extracts_list import LIST_FILE
from otn_dagster.telemetry.push.snapshot import push_folder
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.mail import outbox


@dataclass(frozen=True)
class Release:
    """That a push was released."""

    released_by: str
    why: str
    released_at: dt.datetime


def of(connection: Connection, push_date: str) -> Release | None:
    """Who released a push; None while nobody has."""
    with connection.cursor(row_factory=class_row(Release)) as cursor:
        return cursor.execute(
            "select released_by, why, released_at from platform.push_releases where push_date = %s", [push_date]
        ).fetchone()


def is_released(connection: Connection, push_date: str) -> bool:
    """Whether a push is released, for whoever is about to write its mails: nobody releases it before this transaction ends."""
    lock_for(connection, PUSH_LOCKS, push_date)
    return of(connection, push_date) is not None


def before_mails(connection: Connection, settings: Settings, tracker: TrackerSettings, push_date: str) -> bool:
    """Whether a push's mails may go, for who is about to write them; a node whose configuration says so releases by itself."""
    if tracker.release == "automatic":
        release(connection, settings, push_date, "the configuration", "release: automatic")
    return is_released(connection, push_date)


def is_out(connection: Connection, settings: Settings, push_date: str) -> bool:
    """Whether those whom a push concerns may have it: it is released, or its cut-off lies ahead and it delivers nothing."""
    return of(connection, push_date) is not None or cutoffs.is_rehearsal(connection, settings, push_date)


def release(connection: Connection, settings: Settings, push_date: str, who: str, why: str) -> int:
    """Let a push go out; how many mails may be sent now. Safe to repeat: the first release stands, mails that came later go, too.

    Raises Unusable where there is no certificate of a real push.
    """
    lock_for(connection, PUSH_LOCKS, push_date)
    made = _certificate(push_folder(settings, push_date))
    if made is None:
        raise Unusable(f"the push of {push_date} has no certificate: there is nothing to release")
    if made.get("revision", 1) <= len(revisions.of(connection, push_date)):
        raise Unusable(f"a revision of the push of {push_date} was asked for: run the push again, and look at that")
    if made["rehearsal"]:
        raise Unusable(
            f"the push of {push_date} is a rehearsal, and delivers nothing; release the real one after its cut-off"
        )
    if missing := let_in_and_not_in_it(connection, settings, push_date):
        raise Unusable(
            f"{missing[0].submission_key} was let into the push of {push_date} and its snapshot was made before: make it again, and look at that"
        )
    connection.execute(
        "insert into platform.push_releases (push_date, released_by, why) values (%s, %s, %s) on conflict do nothing",
        [push_date, who, why],
    )
    return outbox.release(connection, push_date, who)


def let_in_and_not_in_it(connection: Connection, settings: Settings, push_date: str) -> list[revisions.Admission]:
    """What was let into a push, is loaded, and came after its snapshot was made."""
    loaded = [one for one in revisions.admissions(connection, push_date) if one.state == "loaded"]
    if not loaded:
        return []
    there = set(snapshot.read(settings, push_date).table("submissions")["submission_no"])
    return [one for one in loaded if one.submission_no not in there]


@dataclass(frozen=True)
class Review:
    """What a person looks at before the release: what will go to whom, what is new, what is unusual, what was left out."""

    mails: list[tuple[str, int]]  # of each state how many
    people: int
    extracts: int
    projects: int
    added: int
    changed: int
    withdrawn: int
    unusual: list[unusual.Remark]
    warnings: list[str]
    left_out: int


def review(connection: Connection, settings: Settings, push_date: str) -> Review | None:
    """The review of a push that has its certificate; None before."""
    folder = push_folder(settings, push_date)
    made = _certificate(folder)
    if made is None:
        return None
    listed = pl.read_parquet(folder / LIST_FILE)
    rows = connection.execute(
        "select state, count(*), count(distinct recipient) from platform.outbox where push_date = %s and event = 'extracts' group by 1 order by 1",
        [push_date],
    ).fetchall()
    return Review(
        mails=[(state, count) for state, count, _ in rows],
        people=sum(people for _, _, people in rows),
        extracts=listed.height,
        projects=listed["collectioncode"].n_unique(),
        added=int(listed["added"].sum()),
        changed=int(listed["changed"].sum()),
        withdrawn=int(listed["withdrawn"].sum()),
        unusual=unusual.read(folder),
        warnings=in_words(read_warnings(folder)),
        left_out=made["counts"].get("left out", 0),
    )


def _certificate(folder: Path) -> dict[str, Any] | None:
    path = folder / CERTIFICATE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
