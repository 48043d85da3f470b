"""What became of pushes: one, the newest, the refused, and how far a table is behind its log.

Belongs here: reading the log's tables for people and for those who push. Does not belong here: writing them (``log.py``, ``apply.py``),
records (``reading.py``).
"""

import datetime as dt
from typing import Any

from otn_dagster.database import Connection


def standing(connection: Connection, dataset: str) -> tuple[int, int, dt.datetime | None]:
    """(pushes, those that are not applied yet, when the newest was received)."""
    row = connection.execute(
        "select count(*), count(*) filter (where seq > coalesce((select seq from platform.live_applied a"
        " where a.dataset = l.dataset), 0)), max(received_at) from platform.live_log l where dataset = %s",
        [dataset],
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def newest(connection: Connection, dataset: str, most: int = 30) -> list[tuple[Any, ...]]:
    """(push, received at, author, operation, records, refused, inserted, updated, unchanged, deleted), the newest first."""
    return connection.execute(
        "select l.seq, l.received_at, l.author, l.op, l.records, l.refused, o.inserted, o.updated, o.unchanged, o.deleted"
        " from platform.live_log l left join platform.live_outcomes o using (seq) where l.dataset = %s order by seq desc limit %s",
        [dataset, most],
    ).fetchall()


def push(connection: Connection, dataset: str, seq: int, author: str | None) -> tuple[Any, ...] | None:
    """(push, operation, author, received at, records, refused, schema version, applied at, run, inserted, updated, unchanged, deleted).

    None where the dataset has no such push, or it is not the author's. author None: anybody's.
    """
    return connection.execute(
        "select l.seq, l.op, l.author, l.received_at, l.records, l.refused, l.schema_version, o.at, o.run_id,"
        " o.inserted, o.updated, o.unchanged, o.deleted from platform.live_log l left join platform.live_outcomes o using (seq)"
        " where l.dataset = %s and l.seq = %s and (%s::text is null or l.author = %s)",
        [dataset, seq, author, author],
    ).fetchone()


def refused(
    connection: Connection, dataset: str, since: dt.datetime | None, author: str | None, most: int
) -> list[tuple[Any, ...]]:
    """(at, author, code, message, push, index, field, body as JSON) of what was refused, the newest first."""
    return connection.execute(
        "select at, author, code, message, seq, index, field, body from platform.live_refused where dataset = %s"
        " and (%s::timestamptz is null or at >= %s) and (%s::text is null or author = %s) order by refused_no desc limit %s",
        [dataset, since, since, author, author, most],
    ).fetchall()


def used_today(connection: Connection, kid: str) -> tuple[int, int]:
    """(records, bytes) that a key pushed since midnight UTC."""
    row = connection.execute(
        "select records, bytes from platform.live_usage where kid = %s and day = (clock_timestamp() at time zone 'UTC')::date",
        [kid],
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)
