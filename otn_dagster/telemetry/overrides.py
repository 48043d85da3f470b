"""Corrections by hand that survive every push: unmatched detections and unreported test tags.

Belongs here: writing them down. Does not belong here: applying them (``rules.matched``, ``rules.transmitter_reasons``).

Source: the description beside real extracts ("let us know so that we can unmatch") and reason 1 of unqualified ones.
"""

import re

from otn_dagster import pushes
from otn_dagster.database import Connection


def unmatch(connection: Connection, unq_detec_id: str, who: str, why: str) -> None:
    """Take one detection from its animal. Safe to repeat: the first reason stands. Raises ValueError for an unknown id."""
    found = re.search(r"-(\d+)$", unq_detec_id)
    row = (
        found
        and connection.execute(
            "select collectioncode || '-' || fieldnumber || '-' || det_key from obis.otn_detections where det_key = %s",
            [found[1]],
        ).fetchone()
    )
    if not row or row[0] != unq_detec_id:
        raise ValueError(
            f"{unq_detec_id!r} is no detection of this platform; give unqDetecID as it stands in the extract"
        )
    _write(connection, "unmatch", unq_detec_id, who, why)


def declare_test_tag(connection: Connection, transmitter: str, who: str, why: str) -> None:
    """Declare that a transmitter nobody reported is a test tag (reason u1). Safe to repeat."""
    _write(connection, "test_tag", transmitter, who, why)


def _write(connection: Connection, action: str, subject: str, who: str, why: str) -> None:
    pushes.wait_for_loading(connection)
    connection.execute(
        "insert into obis.match_overrides (action, subject, decided_by, decided_why) values (%s, %s, %s, %s) on conflict do nothing",
        [action, subject, who, why],
    )
