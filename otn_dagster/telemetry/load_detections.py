"""A detections export into the node database: its Parquet file → ``detections_YYYY`` → ``otn_detections_YYYY``.

Belongs here: accepting rows once, with a key that never changes. Does not belong here: reading the export (``vue.py``),
assigning receivers (``promotion.py``).

``det_key`` comes from ``detections_seq`` when a row is first accepted and stays: a reload of the same or of a corrected
file finds the row by receiver, device time, transmitter and raw sensor value. It is inside unqDetecID, which researchers
compare between pushes.
"""

from dataclasses import dataclass

import polars as pl
from psycopg import sql

from otn_dagster import pushes, transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import decisions, names, submissions, vue
from otn_dagster.telemetry.project_tables import ensure_project_tables, ensure_year_table
from otn_dagster.telemetry.submissions import Counts, Submission

IDENTITY = "receiver_key, datetime, transmitter_key, sensor_value"


@dataclass(frozen=True)
class Loaded:
    """What a detections file added, and the serials of its receivers."""

    counts: Counts
    by_year: dict[int, tuple[int, int]]  # year → (already loaded, new)
    withdrawn: int
    serials: list[str]


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> vue.Export:
    """Read the export and keep its rows as one Parquet file. Safe to repeat: the file is written once, whole.

    Raises BadFile where it is no detections export (D1).
    """
    submissions.require_project(connection, submission)
    export = vue.read_detections(submission.path(settings))
    vue.keep_as_parquet(export.rows, submission.parquet(settings))
    submissions.keep_refusals(connection, submission.submission_key, export.refused)
    return export


def load(connection: Connection, settings: Settings, submission: Submission) -> Loaded:
    """Accept the rows of a submission that are not loaded yet. Safe to repeat: rows are found again by identity.

    Raises LoadingLocked during a push, BadFile where times cannot be (D2), HeldForPerson where a corrected file no longer
    has rows of the one before.
    """
    pushes.loading_allowed(connection, settings, submission.node)
    rows = pl.read_parquet(submission.parquet(settings))
    vue.stop_at_impossible_times(rows, pushes.now(connection).replace(tzinfo=None))
    ensure_project_tables(connection, submission.collectioncode, "detections")
    _stage(connection, rows)
    withdrawn = _withdraw_missing(connection, submission)
    by_year = {}
    for (year,) in connection.execute(
        "select distinct extract(year from datetime)::int from staged order by 1"
    ).fetchall():
        by_year[year] = _accept_year(connection, submission, year)
    counts = _counts(connection, submission, rows.height)
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    submissions.supersede_earlier(connection, submission)
    serials = sorted({names.receiver_serial(receiver) for receiver in rows["receiver"].unique()})
    return Loaded(counts, by_year, withdrawn, serials)


def assign_keys(connection: Connection, kind: str, values: list[str]) -> None:
    """Give integer keys to receivers or transmitters that have none. Safe to repeat and to race."""
    name, column = {
        "receiver": ("receiver_keys", "rcv_serial_no"),
        "transmitter": ("transmitter_keys", "transmitter"),
    }[kind]
    connection.execute(
        sql.SQL(
            "insert into {t} ({c}) select v from unnest(%s::text[]) with ordinality u(v, o)"
            " where not exists (select 1 from {t} k where k.{c} = v) order by o on conflict do nothing"
        ).format(t=sql.Identifier("platform", name), c=sql.Identifier(column)),
        [values],
    )


def _stage(connection: Connection, rows: pl.DataFrame) -> None:
    assign_keys(
        connection,
        "receiver",
        [names.receiver_serial(r) for r in rows["receiver"].unique(maintain_order=True)],
    )
    assign_keys(connection, "transmitter", rows["transmitter"].unique(maintain_order=True).to_list())
    connection.execute("drop table if exists incoming_rows, staged")
    connection.execute(
        "create temp table incoming_rows (row_number bigint, datetime timestamp, receiver text, transmitter text,"
        " sensor_value float8, sensor_unit text, transmitter_name text, transmitter_serial text, station_name text) on commit drop"
    )
    columns = "row_number datetime receiver transmitter sensor_value sensor_unit transmitter_name transmitter_serial station_name"
    transfer.copy_in(connection, sql.Identifier("incoming_rows"), rows.select(columns.split()))
    # Of rows that repeat within the file the first stands for all.
    connection.execute(
        """create temp table staged on commit drop as
           select distinct on (receiver_key, datetime, transmitter_key, sensor_value) i.*, receiver_key, transmitter_key
           from incoming_rows i
           join platform.receiver_keys k on k.rcv_serial_no = substring(i.receiver from '[^-]*$')
           join platform.transmitter_keys using (transmitter)
           order by receiver_key, datetime, transmitter_key, sensor_value, row_number"""
    )
    connection.execute("analyze staged")


def _withdraw_missing(connection: Connection, submission: Submission) -> int:
    """Rows of the superseded file: those in both files now belong to the new one, the others are withdrawn if a person agrees."""
    before = submissions.loaded_before(connection, submission)
    if before is None:
        return 0
    old = submissions.get(connection, before).submission_no
    connection.execute(
        "update platform.detections d set submission_no = %s, row_number = s.row_number from staged s"
        " where d.submission_no = %s and d.receiver_key = s.receiver_key and d.datetime = s.datetime"
        " and d.transmitter_key = s.transmitter_key and d.sensor_value is not distinct from s.sensor_value",
        [submission.submission_no, old],
    )
    missing = connection.execute(
        "select receiver || ' ' || datetime || ' ' || transmitter from platform.detections"
        " where submission_no = %s and withdrawn_at is null order by row_number",
        [old],
    ).fetchall()
    if not missing:
        return 0
    if decisions.answer(connection, "removal", submission.submission_key) != "accept":
        details = [f"{row} is no longer in the file" for (row,) in missing[:50]]
        details += [f"... and {len(missing) - 50} more"] if len(missing) > 50 else []
        raise decisions.HeldForPerson("removal", submission.submission_key, details)
    connection.execute(
        "update platform.detections set withdrawn_at = platform.now() where submission_no = %s and withdrawn_at is null",
        [old],
    )
    _bump(connection, submission.collectioncode, None)
    return len(missing)


def _accept_year(connection: Connection, submission: Submission, year: int) -> tuple[int, int]:
    target = ensure_year_table(connection, submission.collectioncode, "detections", year)
    total = connection.execute("select count(*) from staged where extract(year from datetime) = %s", [year]).fetchone()
    # The same offload may have been sent by another project: look there by receiver, not row by row.
    connection.execute("drop table if exists elsewhere")
    connection.execute(
        "create temp table elsewhere on commit drop as select d.receiver_key, d.datetime, d.transmitter_key, d.sensor_value"
        " from platform.detections d where d.receiver_key = any(select distinct receiver_key from staged)"
        " and extract(year from d.datetime) = %s and d.withdrawn_at is null",
        [year],
    )
    revived = connection.execute(
        sql.SQL(
            "update {} d set withdrawn_at = null, submission_no = %s, row_number = s.row_number, loaded_at = platform.now()"
            " from staged s where d.withdrawn_at is not null and d.receiver_key = s.receiver_key and d.datetime = s.datetime"
            " and d.transmitter_key = s.transmitter_key and d.sensor_value is not distinct from s.sensor_value"
        ).format(target),
        [submission.submission_no],
    ).rowcount
    inserted = connection.execute(
        sql.SQL(
            """insert into {} (det_key, submission_no, row_number, receiver_key, transmitter_key, receiver, transmitter, datetime,
                   sensor_value, sensor_unit, transmitter_name, transmitter_serial, station_name, loaded_at)
               select nextval('platform.detections_seq'), %s, row_number, receiver_key, transmitter_key, receiver, transmitter,
                   datetime, sensor_value, sensor_unit, transmitter_name, transmitter_serial, station_name, platform.now()
               from (select * from staged s where extract(year from datetime) = %s
                     and not exists (select 1 from elsewhere e where e.receiver_key = s.receiver_key and e.datetime = s.datetime
                         and e.transmitter_key = s.transmitter_key and e.sensor_value is not distinct from s.sensor_value)
                     order by row_number) fresh
               on conflict do nothing"""
        ).format(target),
        [submission.submission_no, year],
    ).rowcount
    if inserted or revived:
        _bump(connection, submission.collectioncode, year)
    assert total is not None
    return total[0] - inserted - revived, inserted + revived


def _bump(connection: Connection, collectioncode: str, year: int | None) -> None:
    """Note that a partition of detections changed (all years of the project where the year is None)."""
    if year is None:
        connection.execute(
            "update platform.partition_versions set version = version + 1 where collectioncode = %s",
            [collectioncode],
        )
        return
    connection.execute(
        "insert into platform.partition_versions values (%s, %s, 1)"
        " on conflict (collectioncode, year) do update set version = partition_versions.version + 1",
        [collectioncode, year],
    )


def _counts(connection: Connection, submission: Submission, usable: int) -> Counts:
    row = connection.execute(
        "select (select count(*) from platform.detections where submission_no = %s and withdrawn_at is null),"
        " (select count(*) from platform.refused_rows where submission_key = %s)",
        [submission.submission_no, submission.submission_key],
    ).fetchone()
    assert row is not None
    loaded, refused = row
    return Counts(raw=usable + refused, loaded=loaded, duplicate=usable - loaded, refused=refused)
