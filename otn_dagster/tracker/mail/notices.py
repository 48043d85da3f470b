"""What is told to whom: extracts to a project's people, trouble to the operators.

Belongs here: recipients and the values of templates (``templates/mail/``). Does not belong here: the rows (``outbox.py``), sending.

Every function writes into the outbox in the transaction it is given, and is safe to repeat.
"""

import datetime as dt
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from otn_dagster.database import Connection
from otn_dagster.live.silence import Notice
from otn_dagster.telemetry.push.attention import read_warnings
from otn_dagster.telemetry.push.extracts import file_stem
from otn_dagster.telemetry.push.extracts_list import TYPES
from otn_dagster.tracker import people
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.items import Item
from otn_dagster.tracker.mail import outbox, wording
from otn_dagster.tracker.mail.outbox import Draft

MOST_PEOPLE, MOST_ASKED_A_DAY, MOST_LINKS_A_DAY = 20, 20, 3
logger = logging.getLogger(__name__)
ADDRESS = re.compile(r"[^@\s<>,;:\"\\]+@[A-Za-z0-9.-]+")


def people_of(connection: Connection, collectioncode: str, roles: Sequence[str]) -> list[tuple[str, str]]:
    """(address, name) of a project's people with these roles, and of its points of contact."""
    rows = connection.execute(
        "select distinct on (lower(email)) lower(email), name from obis.contacts join obis.contacts_projects using (contact_pk)"
        " where collectioncode = %s and email is not null and (point_of_contact or role = any(%s)) order by 1, contact_pk",
        [collectioncode, list(roles)],
    ).fetchall()
    return [(email, name) for email, name in rows if ADDRESS.fullmatch(email)][:MOST_PEOPLE]


def extracts(
    connection: Connection,
    settings: TrackerSettings,
    push_date: str,
    listed: pl.DataFrame,
    folder: Path,
    released: bool = True,
) -> list[int]:
    """One mail to each person, with links to every extract of all of their projects. Numbers of mails that were not there yet.

    released: otherwise they wait for the release of the push.
    """
    mine: dict[str, dict[str, list[dict[str, Any]]]] = {}
    names: dict[str, str] = {}
    for (code,), rows in sorted(listed.group_by("collectioncode", maintain_order=True)):
        for email, name in people_of(connection, str(code), settings.mail.roles):
            names.setdefault(email, name)
            mine.setdefault(email, {})[str(code)] = [
                _extract(settings, push_date, row, folder) for row in rows.iter_rows(named=True)
            ]
    warnings = read_warnings(folder)
    for code in sorted(set(warnings) - {""}):
        for email, name in people_of(connection, code, settings.mail.roles):
            names.setdefault(email, name)
            mine.setdefault(email, {}).setdefault(code, [])
    drafts = []
    for email, projects in mine.items():
        values = {
            "name": names[email],
            "push_date": push_date,
            "projects": projects,
            "warnings": {code: warnings.get(code, []) for code in projects},
            "web_url": settings.web_url,
        }
        listing = tuple(row["detection_extract"] for rows in projects.values() for row in rows)
        drafts.append(_draft("extracts", "", email, values, push_date=push_date, name=names[email], extracts=listing))
    written = outbox.write(connection, drafts, settings.mail.mode, waits=not released)
    outbox.give_up_waiting(connection, push_date, [draft.recipient for draft in drafts])
    connection.execute(
        "insert into platform.tracker_pushes (push_date) values (%s) on conflict do nothing", [push_date]
    )
    return written


def _extract(settings: TrackerSettings, push_date: str, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    code, year, letter = row["collectioncode"], row["year"], row["extract_type"]
    stem = file_stem(code, letter, year)
    files = [name for name in (f"{stem}.zip", f"{stem}.parquet") if (folder / "extracts" / code / name).exists()]
    return {
        **row,
        "type": TYPES[letter],
        "links": [f"{settings.web_url}/tracker/pushes/{push_date}/extracts/{code}/{name}" for name in files],
    }


def needs_researcher(connection: Connection, settings: TrackerSettings, item: Item) -> list[int]:
    """The project's people are asked about a file; once for each time that it needs them."""
    row = connection.execute(
        "select count(distinct subject) from platform.outbox where event = 'needs_researcher' and starts_with(subject, %s)"
        " and created_at > clock_timestamp() - interval '1 day'",
        [f"{item.collectioncode} "],
    ).fetchone()
    if row and row[0] >= MOST_ASKED_A_DAY:
        logger.warning("%s was asked %s times today; no further mail is written", item.collectioncode, row[0])
        return []
    values = {"item": item, "web_url": settings.web_url}
    subject = f"{item.collectioncode} item {item.item_id} line {item.version}"
    people = people_of(connection, item.collectioncode or "", settings.mail.roles)

    def make() -> list[Draft]:
        return [
            _draft("needs_researcher", subject, email, {**values, "name": name}, name=name) for email, name in people
        ]

    return _write_or_log(connection, settings, make)


def missing(
    connection: Connection,
    settings: TrackerSettings,
    code: str,
    metadata: Sequence[Mapping[str, Any]],
    due: Sequence[Mapping[str, Any]],
) -> list[int]:
    """A project's people are asked for what is missing, once a day. metadata, due: rows of ``missing_metadata`` and ``missing_files``."""
    row = connection.execute("select to_char(platform.now() at time zone 'UTC', 'YYYY-MM-DD')").fetchone()
    assert row is not None
    values = {"code": code, "metadata": metadata, "due": due, "web_url": settings.web_url}
    asked = people_of(connection, code, settings.mail.roles)

    def make() -> list[Draft]:
        return [
            _draft("missing", f"{code} {row[0]}", email, {**values, "name": name}, name=name) for email, name in asked
        ]

    return _write_or_log(connection, settings, make)


def password(connection: Connection, settings: TrackerSettings, email: str, at: dt.datetime) -> list[int]:
    """Whoever may choose a password is sent a link to do so: one an hour and address, three a day. Others are sent nothing."""
    email = email.strip().lower()
    name = people.may_choose(connection, email) if ADDRESS.fullmatch(email) else None
    row = connection.execute(
        "select count(*) from platform.outbox where event = 'password' and recipient = %s"
        " and created_at > clock_timestamp() - interval '1 day'",
        [email],
    ).fetchone()
    values = {"name": name or "nobody", "code": outbox.CODE, "web_url": settings.web_url}
    subject = f"{email} {at:%Y-%m-%dT%H}"

    def make() -> list[
        Draft
    ]:  # worded for a stranger, too: the time that it takes tells nobody which addresses are known
        draft = _draft("password", subject, email, values, name=name)
        return [] if name is None or (row and row[0] >= MOST_LINKS_A_DAY) else [draft]

    return _write_or_log(connection, settings, make)


def failure(
    connection: Connection, settings: TrackerSettings, job: str, cause: str, text: str, run_id: str, day: dt.date
) -> list[int]:
    """Operators are told of a failed run or a blocking check: once for each cause and day."""
    values = {"job": job, "cause": cause, "text": text, "run": f"{settings.dagster_url}/runs/{run_id}", "day": day}
    return _to_operators(connection, settings, "failure", f"{job} {cause} {day}", values)


def silence(connection: Connection, settings: TrackerSettings, notices: Sequence[Notice], at: dt.datetime) -> list[int]:
    """Operators are told when a live dataset falls silent, or everything is refused, and when that is over."""
    written: list[int] = []
    for notice in notices:
        subject = f"{notice.dataset} {notice.kind} {notice.subject} {notice.event} {at:%Y-%m-%dT%H:%M:%S}"
        written += _to_operators(
            connection, settings, "silence", subject, {"notice": notice, "web_url": settings.web_url}
        )
    return written


def reminder(
    connection: Connection, settings: TrackerSettings, push_date: str, facts: dict[str, object], day: dt.date
) -> list[int]:
    """Operators are reminded of a push: what is open."""
    values = {"push_date": push_date, "facts": facts, "web_url": settings.web_url}
    return _to_operators(connection, settings, "reminder", f"reminder {day}", values, push_date)


def _to_operators(
    connection: Connection,
    settings: TrackerSettings,
    event: str,
    subject: str,
    values: dict[str, Any],
    push_date: str | None = None,
) -> list[int]:
    return _write_or_log(
        connection,
        settings,
        lambda: [
            _draft(event, subject, email.lower(), values, push_date=push_date) for email in settings.mail.operators
        ],
    )


def _write_or_log(connection: Connection, settings: TrackerSettings, make: Callable[[], list[Draft]]) -> list[int]:
    """Write mails beside something that matters more than they do: a template of a node that fails does not undo it."""
    try:
        return outbox.write(connection, make(), settings.mail.mode)
    except jinja2.TemplateError:
        logger.exception("a mail could not be worded")
        return []


def _draft(
    event: str,
    subject: str,
    email: str,
    values: dict[str, Any],
    push_date: str | None = None,
    name: str | None = None,
    extracts: tuple[str, ...] = (),
) -> Draft:
    title, body_text, body_html = (
        wording.render(f"mail/{event}.{part}", **values) for part in ("title.txt", "txt", "html")
    )
    return Draft(event, subject, email, title, body_text, body_html, push_date, name, extracts)
