"""An events export into the node database: ``events`` → ``time_drift_factors``, ``receiver_config``, DOWNLOAD rows.

Belongs here: accepting events once and deriving what they say about clocks and settings. Does not belong here: reading
the export (``files/``), the arithmetic of drift (``clocks.py``).
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from otn_dagster import decisions, transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, names, submissions
from otn_dagster.telemetry.clocks import (
    CLOCK_SET,
    INITIALIZATION,
    OFFLOAD,
    PC_TIME,
    ClockSegment,
    Event,
    clock_segments,
)
from otn_dagster.telemetry.files import impossible
from otn_dagster.telemetry.files.exports import EVENTS, Export
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.loading import detections
from otn_dagster.telemetry.loading.deployments import download
from otn_dagster.telemetry.loading.detections import blocks_of
from otn_dagster.telemetry.loading.keys import assign_keys
from otn_dagster.telemetry.loading.merging import merge
from otn_dagster.telemetry.project_tables import ensure_project_tables, table
from otn_dagster.telemetry.receiver_tables import serials_in
from otn_dagster.telemetry.submissions import Counts, Submission


@dataclass(frozen=True)
class Drift:
    """One receiver's clock segment with whether it is believed."""

    receiver: str
    segment: ClockSegment
    accepted: bool


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> Export:
    """Read the export once and keep its rows as one Parquet file. Safe to repeat: the file is written aside and renamed."""
    return detections.load_raw(connection, settings, submission, "events")


def load(connection: Connection, settings: Settings, submission: Submission) -> Counts:
    """Accept the events that are not loaded yet. Safe to repeat: an event is found by receiver, time, name and data."""
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    parquet = submission.parquet(settings)
    impossible.stop_at_impossible_times(parquet, cutoffs.now(connection).replace(tzinfo=None))
    ensure_project_tables(connection, submission.collectioncode, "events")
    assign_keys(connection, "receiver", serials_in(parquet))
    connection.execute("drop table if exists incoming_events")
    connection.execute(
        "create temp table incoming_events (row_number bigint, datetime timestamp, receiver text, description text, data text,"
        " units text) on commit drop"
    )
    usable = 0
    for block in blocks_of(parquet, list(EVENTS)):
        transfer.copy_in(connection, sql.Identifier("incoming_events"), block)
        usable += block.height
    inserted = connection.execute(
        sql.SQL(
            """insert into {} (submission_key, row_number, receiver_key, receiver, datetime, description, data, units, loaded_at)
               select %s, row_number, receiver_key, receiver, datetime, description, data, units, platform.now()
               from (select distinct on (receiver, datetime, description, data) * from incoming_events
                     order by receiver, datetime, description, data, row_number) i
               join platform.receiver_keys k on k.rcv_serial_no = substring(i.receiver from '[^-]*$')
               where not exists (select 1 from platform.events e where e.receiver_key = k.receiver_key
                   and e.datetime = i.datetime and e.description = i.description and e.data is not distinct from i.data)
               order by row_number on conflict do nothing"""
        ).format(table(submission.collectioncode, "events")),
        [submission.submission_key],
    ).rowcount
    already = connection.execute(
        "select count(*) from platform.events where submission_key = %s", [submission.submission_key]
    ).fetchone()
    refused = connection.execute(
        "select refused_rows from platform.submissions where submission_key = %s", [submission.submission_key]
    ).fetchone()
    assert already is not None and refused is not None and inserted <= already[0]
    counts = Counts(usable + refused[0], already[0], usable - already[0], refused[0])
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    submissions.supersede_earlier(connection, submission, loaded_too=False)
    return counts


def receivers_of(settings: Settings, submission: Submission) -> list[str]:
    """Serials of the receivers in a submission."""
    return serials_in(submission.parquet(settings))


def load_drift(connection: Connection, settings: Settings, submission: Submission) -> list[Drift]:
    """Recompute ``time_drift_factors`` of the receivers of a submission from all their events.

    A drift beyond the node's limit is not believed: it is written as not accepted and a person is asked. Safe to repeat:
    segments that come out the same are left alone, and so is a person's answer.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    limit = settings.node(submission.node).max_clock_drift_seconds_per_day
    drifts: list[Drift] = []
    for serial in receivers_of(settings, submission):
        drifts += _drift_of(connection, serial, limit, submission.submission_key)
    return drifts


def _drift_of(connection: Connection, serial: str, limit: float, source: str) -> list[Drift]:
    rows = connection.execute(
        "select receiver_key, receiver, datetime, description, data from platform.events"
        " join platform.receiver_keys using (receiver_key) where rcv_serial_no = %s and description = any(%s)",
        [serial, [INITIALIZATION, OFFLOAD, PC_TIME, CLOCK_SET]],
    ).fetchall()
    if not rows:
        return []
    key, receiver = rows[0][0], max(row[1] for row in rows)
    drifts, wanted = [], []
    for number, segment in enumerate(clock_segments(Event(*row[2:]) for row in rows)):
        believed = abs(segment.seconds_per_day) <= limit
        subject = f"{receiver} {segment.start} to {segment.end}"
        if not believed:
            decisions.ask(
                connection,
                Topic.CLOCK_DRIFT,
                subject,
                {
                    "seconds_per_day": round(segment.seconds_per_day, 3),
                    "limit": limit,
                    "offset_at_offload": segment.offset_end,
                },
            )
            believed = decisions.answer(connection, Topic.CLOCK_DRIFT, subject) == "accept"
        drifts.append(Drift(receiver, segment, believed))
        wanted.append(
            (
                key,
                receiver,
                number,
                segment.start,
                segment.end,
                segment.offset_start,
                segment.offset_end,
                segment.factor,
                believed,
            )
        )
    known = connection.execute(
        "select receiver_key, receiver, segment, initialized_at, offload_at, offset_start, offset_end, factor, accepted"
        " from platform.time_drift_factors where receiver_key = %s order by segment",
        [key],
    ).fetchall()
    if known != wanted:
        connection.execute("delete from platform.time_drift_factors where receiver_key = %s", [key])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into platform.time_drift_factors values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, platform.now())",
                [(*row, source) for row in wanted],
            )
    return drifts


def load_config(connection: Connection, settings: Settings, submission: Submission) -> int:
    """Map codes and their code spaces into ``receiver_config`` (events-4). Safe to repeat: replaces this submission's rows."""
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    connection.execute("delete from platform.receiver_config where submission_key = %s", [submission.submission_key])
    rows = connection.execute(
        "select receiver_key, receiver, datetime, data from platform.events where submission_key = %s and description = 'Map'",
        [submission.submission_key],
    ).fetchall()
    for key, receiver, at, data in rows:
        found = re.match(r"\s*([^\s(]+)\s*(?:\((.*)\))?", data or "")
        if found:
            connection.execute(
                "insert into platform.receiver_config values (%s, %s, %s, %s, %s, %s, platform.now())",
                [key, receiver, at, found[1], found[2], submission.submission_key],
            )
    return len(rows)


def load_downloads(connection: Connection, settings: Settings, submission: Submission) -> int:
    """Data Upload events as DOWNLOAD rows of the deployment that they end (events-3).

    The deployment is the last of that receiver that began before the upload. Safe to repeat: merged by catalognumber.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    uploads = connection.execute(
        """select distinct on (e.datetime, k.rcv_serial_no) m.collectioncode, m.catalognumber, k.rcv_serial_no, e.datetime, e.data
           from platform.events e join platform.receiver_keys k using (receiver_key)
           join obis.moorings m on m.basisofrecord = 'RECEIVER' and m.collectornumber = k.rcv_serial_no and m.startdatetime <= e.datetime
           where e.submission_key = %s and e.description = 'Data Upload'
           order by e.datetime, k.rcv_serial_no, m.startdatetime desc""",
        [submission.submission_key],
    ).fetchall()
    by_project: dict[str, list[dict[str, Any]]] = {}
    for code, rcvrcatnumber, serial, at, data in uploads:
        day: dt.datetime = at
        key = names.download_catalognumber(rcvrcatnumber, day)
        by_project.setdefault(code, []).append(download(code, key, rcvrcatnumber, serial, at) | {"notes": data})
    count = 0
    for code, rows in by_project.items():
        known = {
            key
            for (key,) in connection.execute(
                sql.SQL("select catalognumber from {} where basisofrecord = 'DOWNLOAD'").format(table(code, "moorings"))
            )
        }
        fresh = [row for row in rows if row["catalognumber"] not in known]
        merge(
            connection,
            table(code, "moorings"),
            ["basisofrecord", "catalognumber"],
            fresh,
            submission.submission_key,
        )
        count += len(fresh)
    return count
