"""Detections that receivers push become submissions like the files that people send.

Belongs here: which receiver-days are to be written, and their files. Does not belong here: loading (``telemetry/``): a file lies in
``incoming/`` and takes the path of every other.

A day of a receiver is one VUE export. It is written when the day has ended (UTC), and again when records of it came, changed or
went later: the corrected file has the same name, so it supersedes, and one that lost rows waits for a person as any other.
"""

import csv
import datetime as dt
import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from otn_dagster import files
from otn_dagster.config import Settings
from otn_dagster.database import LIVE_SUBMISSION_LOCKS, Connection, lock_for
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.table import STORE

HEADER = [
    "Date and Time (UTC)",
    "Receiver",
    "Transmitter",
    "Transmitter Name",
    "Transmitter Serial",
    "Sensor Value",
    "Sensor Unit",
    "Station Name",
    "Latitude",
    "Longitude",
    "As of Push",
]
FIELDS = ["time", "receiver", "transmitter", "transmitter_name", "transmitter_serial", "sensor_value", "sensor_unit"]
FIELDS += ["station_name", "latitude", "longitude"]


@dataclass(frozen=True)
class Written:
    """A receiver-day that became a file in ``incoming/``."""

    receiver: str
    day: dt.date
    rows: int
    file_name: str


def submit(connection: Connection, settings: Settings, dataset: Dataset, today: dt.date | None = None) -> list[Written]:
    """Write a file for every receiver-day that ended and has news.

    Safe to repeat and to kill: a file is written aside and renamed, its content depends on the records alone, and the same bytes
    are the same submission.
    """
    if not connection.execute("select to_regclass(%s)", [f'{STORE}."{dataset.name}"']).fetchone()[0]:  # type: ignore[index]
        return []
    lock_for(connection, LIVE_SUBMISSION_LOCKS, dataset.name)
    today = today or dt.datetime.now(dt.UTC).date()
    written = []
    for receiver, day, seq in _days_with_news(connection, dataset, today):
        rows = _rows(connection, dataset, receiver, day)
        name = f"live_{dataset.name}_{_in_a_name(receiver)}_{day:%Y%m%d}.csv"
        content = _export(rows, seq)
        sha256 = hashlib.sha256(content).hexdigest()
        known = connection.execute(
            "select sha256 from platform.live_submissions where dataset = %s and receiver = %s and day = %s",
            [dataset.name, receiver, day],
        ).fetchone()
        if known is None and not rows:
            continue
        if known is None or known[0] != sha256:
            _put(settings, dataset, name, content)
            written.append(Written(receiver, day, len(rows), name))
        connection.execute(
            "insert into platform.live_submissions (dataset, receiver, day, seq, file_name, sha256) values (%s, %s, %s, %s, %s, %s)"
            " on conflict (dataset, receiver, day) do update set seq = excluded.seq, sha256 = excluded.sha256,"
            " at = clock_timestamp()",
            [dataset.name, receiver, day, seq, name, sha256],
        )
    return written


def _in_a_name(receiver: str) -> str:
    """A receiver as part of a file's name; no two receivers have the same."""
    if re.fullmatch(r"[A-Za-z0-9-]{1,60}", receiver):
        return receiver
    return f"{re.sub(r'[^A-Za-z0-9-]', '_', receiver)[:40]}_{hashlib.sha256(receiver.encode()).hexdigest()[:12]}"


def _days_with_news(connection: Connection, dataset: Dataset, today: dt.date) -> list[tuple[str, dt.date, int]]:
    """Receiver-days that ended, with the newest push that touched them, where that is newer than what was written.

    A version's day is its own and that of the version before it: a record whose time was corrected leaves a day, too.
    """
    query = sql.SQL(
        """with touched as (
               select coalesce(receiver, lag(receiver) over w) as receiver, (coalesce(time, lag(time) over w) at time zone 'UTC')::date
                   as day, _seq from {0} window w as (partition by _record_id order by _seq)
               union all
               select lag(receiver) over w, (lag(time) over w at time zone 'UTC')::date, _seq
                   from {0} window w as (partition by _record_id order by _seq))
           select t.receiver, t.day, max(t._seq) from touched t
           left join platform.live_submissions s on s.dataset = %s and s.receiver = t.receiver and s.day = t.day
           where t.receiver is not null and t.day < %s
           group by 1, 2 having max(t._seq) > coalesce(max(s.seq), 0) order by 1, 2"""
    ).format(sql.Identifier(STORE, dataset.name))
    return connection.execute(query, [dataset.name, today]).fetchall()


def _rows(connection: Connection, dataset: Dataset, receiver: str, day: dt.date) -> list[tuple[Any, ...]]:
    known = dataset.schema_.fields
    columns = [sql.Identifier(name) if name in known else sql.SQL("null") for name in FIELDS]
    query = sql.SQL(
        "select {} from {} where _current and not _deleted and receiver = %s and time >= %s and time < %s"
        " order by time, transmitter, _record_id"
    ).format(sql.SQL(", ").join(columns), sql.Identifier(STORE, dataset.name))
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return connection.execute(query, [receiver, start, start + dt.timedelta(days=1)]).fetchall()


def _export(rows: list[tuple[Any, ...]], seq: int) -> bytes:
    """The export names the push that it is as of: a day that becomes what it was before is another submission nevertheless."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for time, *others in rows:
        at = time.astimezone(dt.UTC)
        clock = at.strftime("%Y-%m-%d %H:%M:%S") + (f".{at.microsecond // 1000:03d}" if at.microsecond else "")
        writer.writerow([clock, *["" if value is None else value for value in others], seq])
    return buffer.getvalue().encode()


def _put(settings: Settings, dataset: Dataset, name: str, content: bytes) -> None:
    assert dataset.node and dataset.collectioncode
    folder = settings.incoming / dataset.node / dataset.collectioncode / "detections"
    files.write(folder / name, content)
