"""Corrections by hand that survive every push: unmatched detections, unreported test tags, ends of tags.

Belongs here: writing them down. Does not belong here: applying them (``rules.matched``, ``rules.transmitter_reasons``).

Source: the description beside real extracts ("let us know so that we can unmatch") and reason 1 of unqualified ones.
"""

import datetime as dt
import re

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import cutoffs
from otn_dagster.telemetry.fixing import applying, corrections
from otn_dagster.telemetry.names import COLLECTION_CODE
from otn_dagster.telemetry.project_tables import year_tables


def unmatch(connection: Connection, unq_detec_id: str, who: str, why: str) -> None:
    """Take one detection from its animal. Safe to repeat: the first reason stands. Raises ValueError for an unknown id."""
    row = _promoted(connection, unq_detec_id)
    if not row or row != unq_detec_id:
        raise Unusable(
            f"{unq_detec_id!r} is no detection of this platform; give unqDetecID as it stands in the extract"
        )
    _write(connection, "unmatch", unq_detec_id, who, why)


def _promoted(connection: Connection, unq_detec_id: str) -> str | None:
    """The id of the promoted detection that an id names; its first part is the project that heard it."""
    found = re.search(r"-(\d+)$", unq_detec_id)
    code = unq_detec_id.split("-")[0]
    if found and COLLECTION_CODE.match(code):
        for table in year_tables(connection, code, "otn_detections").values():
            query = sql.SQL("select collectioncode || '-' || fieldnumber || '-' || det_key from {} where det_key = %s")
            row = connection.execute(query.format(table), [found[1]]).fetchone()
            if row:
                return row[0]
    return None


def declare_test_tag(connection: Connection, transmitter: str, who: str, why: str) -> None:
    """Declare that a transmitter nobody reported is a test tag (reason u1). Safe to repeat."""
    _write(connection, "test_tag", transmitter, who, why)


def end_tag(connection: Connection, catalognumber: str, end: dt.datetime, who: str, why: str) -> None:
    """Set until when a transmitter (``NSBS-Hooker-A69-9002-6135``) may be heard, where its sheet does not say. The last word stands.

    Safe to repeat. Raises ValueError for an unknown transmitter, or an end before its release.
    """
    row = connection.execute(
        "select startdatetime from obis.moorings where catalognumber = %s and relationshiptype = 'ANIMAL'",
        [catalognumber],
    ).fetchone()
    if row is None:
        raise Unusable(
            f"{catalognumber!r} is not a transmitter of an animal; give its catalognumber, animal and transmitter"
        )
    if end < row[0]:
        raise Unusable(f"the end {end:%Y-%m-%d} is before the release on {row[0]:%Y-%m-%d}")
    code = connection.execute(
        "select collectioncode from obis.moorings where catalognumber = %s and relationshiptype = 'ANIMAL'",
        [catalognumber],
    ).fetchone()
    if code and catalognumber in corrections.ends_set(applying.in_force(connection, code[0])):
        raise Unusable(f"a list of fixes says when {catalognumber} ends; undo that first, or send another")
    cutoffs.wait_for_loading(connection)
    connection.execute(
        "insert into obis.match_overrides (action, subject, decided_by, decided_why, value) values ('tag_end', %s, %s, %s, %s)"
        " on conflict (action, subject) do update set value = excluded.value, decided_by = excluded.decided_by,"
        " decided_why = excluded.decided_why, decided_at = platform.now()",
        [catalognumber, who, why, end.isoformat()],
    )
    connection.execute(
        "update obis.moorings set enddatetime = %s, window_code = null, datelastmodified = platform.now() where catalognumber = %s"
        " and relationshiptype = 'ANIMAL'",
        [end, catalognumber],
    )


def tag_ends(connection: Connection) -> dict[str, dt.datetime]:
    """Ends that people set, by transmitter's catalognumber."""
    rows = connection.execute("select subject, value from obis.match_overrides where action = 'tag_end'").fetchall()
    return {subject: dt.datetime.fromisoformat(value) for subject, value in rows}


def _write(connection: Connection, action: str, subject: str, who: str, why: str) -> None:
    cutoffs.wait_for_loading(connection)
    connection.execute(
        "insert into obis.match_overrides (action, subject, decided_by, decided_why) values (%s, %s, %s, %s) on conflict do nothing",
        [action, subject, who, why],
    )
