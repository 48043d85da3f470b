"""A detections export into the node database: its Parquet file → ``detections_YYYY`` → ``otn_detections_YYYY``.

Belongs here: accepting rows once, with a key that never changes. Does not belong here: reading the export (``files/``), assigning
receivers (``promotion.py``).

``det_key`` comes from ``detections_seq`` when a row is first accepted and stays: a reload of the same or of a corrected
file finds the row by receiver, device time, transmitter and raw sensor value. It is inside unqDetecID, which researchers
compare between pushes. The same detection written to the second by one program and to the millisecond by another is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from psycopg import sql

from otn_dagster import decisions, transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, names, readings, receiver_tables, submissions
from otn_dagster.telemetry.files import impossible, reading
from otn_dagster.telemetry.files.exports import DETECTIONS, SECOND, Export
from otn_dagster.telemetry.files.refusals import Topic, Undecided
from otn_dagster.telemetry.loading.keys import assign_keys
from otn_dagster.telemetry.project_tables import ensure_project_tables, ensure_year_table, year_tables
from otn_dagster.telemetry.readings import Reading
from otn_dagster.telemetry.receiver_tables import ACCEPTED
from otn_dagster.telemetry.submissions import Counts, Submission

ROWS_AT_ONCE = 200_000
LEAST_SHIFTED, SHARE_SHIFTED, SAMPLED = (
    50,
    0.9,
    200,
)  # when two files of a receiver are the same under another time zone


@dataclass(frozen=True)
class Loaded:
    """What a detections file added, and the serials of its receivers."""

    counts: Counts
    by_year: dict[int, tuple[int, int]]  # year → (already loaded, new)
    withdrawn: int
    serials: list[str]


def load_raw(connection: Connection, settings: Settings, submission: Submission, kind: str = "detections") -> Export:
    """Read the export once and keep its rows as one Parquet file. Safe to repeat: the file is written aside and renamed.

    Raises BadFile where it is no export of its kind (D1), Undecided where it does not say which of two things it means.
    """
    submissions.require_project(connection, submission)
    answers = decisions.answers(connection, submission.submission_key)
    accepts = settings.node(submission.node).receives
    target = submission.parquet(settings)
    export = reading.read_export(submission.path(settings), kind, target, answers, accepts)
    situation = readings.situation_of(connection, submission, None)
    kept = Reading(
        export.format,
        {},
        readings.as_json(situation),
        export.container_rows,
        export.not_data,
        export.columns,
        export.precision_us,
    )
    readings.keep(connection, submission, kept)
    readings.write_findings(connection, submission.submission_key, "raw", export.findings)
    submissions.keep_refusals(connection, submission.submission_key, export.refused)
    counts = Counts(export.usable + export.refused_rows, 0, 0, export.refused_rows, export.usable)
    submissions.note_counts(connection, submission.submission_key, counts)
    return export


def load(connection: Connection, settings: Settings, submission: Submission) -> Loaded:
    """Accept the rows of a submission that are not loaded yet. Safe to repeat: rows are found again by identity.

    Raises LoadingLocked during a push, BadFile where times cannot be (D2), HeldForPerson where a corrected file no longer
    has rows of the one before, Undecided where another file has the same detections some half hours earlier or later.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    parquet = submission.parquet(settings)
    impossible.stop_at_impossible_times(parquet, cutoffs.now(connection).replace(tzinfo=None))
    ensure_project_tables(connection, submission.collectioncode, "detections")
    usable = _stage(connection, parquet)
    keys = receiver_tables.keys_of(connection, receiver_tables.serials_in(parquet))
    before = submissions.loaded_before(connection, submission)
    own = submissions.get(connection, before).submission_no if before else submission.submission_no
    _gather_known(connection, keys)
    _hold_other_zone(connection, submission, own)
    withdrawn = _withdraw_missing(connection, submission)
    if withdrawn:
        _gather_known(connection, keys)  # what was withdrawn is not there to be repeated
    _find_repeated(connection, submission)
    _note_repeated(connection, submission, own)
    by_year = {}
    for (year,) in connection.execute(
        "select distinct extract(year from datetime)::int from staged order by 1"
    ).fetchall():
        by_year[year] = _accept_year(connection, submission, year)
    counts = _counts(connection, submission, keys, usable)
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    submissions.supersede_earlier(connection, submission)
    if withdrawn:
        _give_to_others(connection, settings, own)
    return Loaded(counts, by_year, withdrawn, receiver_tables.serials_in(parquet))


def _give_to_others(connection: Connection, settings: Settings, withdrawn_of: int) -> None:
    """Rows that a file lost and that other files have, too, are those files' now: they were not loaded from them as repeats."""
    givers = connection.execute(
        "select distinct submission_key from platform.repeated_rows join platform.submissions using (submission_key)"
        " where other_submission_no = %s and state = 'loaded' order by 1",
        [withdrawn_of],
    ).fetchall()
    for (key,) in givers:
        load(connection, settings, submissions.get(connection, key))


def blocks_of(parquet: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """A file's rows, some at a time."""
    for batch in pq.ParquetFile(parquet).iter_batches(ROWS_AT_ONCE, columns=columns):
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        yield frame


def _stage(connection: Connection, parquet: Path) -> int:
    """The file's rows as the table ``staged``, each once; how many rows the file has."""
    distinct = pl.scan_parquet(parquet)
    receivers = distinct.select(pl.col("receiver").unique(maintain_order=True)).collect()["receiver"]
    assign_keys(connection, "receiver", list(dict.fromkeys(names.receiver_serial(r) for r in receivers)))
    transmitters = distinct.select(pl.col("transmitter").unique(maintain_order=True)).collect()["transmitter"]
    assign_keys(connection, "transmitter", transmitters.to_list())
    connection.execute("drop table if exists incoming_rows, staged")
    connection.execute(
        "create temp table incoming_rows (row_number bigint, datetime timestamp, receiver text, transmitter text,"
        " sensor_value float8, sensor_unit text, transmitter_name text, transmitter_serial text, station_name text) on commit drop"
    )
    usable = 0
    for block in blocks_of(parquet, list(DETECTIONS)):
        transfer.copy_in(connection, sql.Identifier("incoming_rows"), block.select(list(DETECTIONS)))
        usable += block.height
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
    return usable


def _gather_known(connection: Connection, keys: list[int]) -> None:
    """What is loaded of the file's receivers, whoever sent it, as the table ``known``: found by receiver, not row by row."""
    connection.execute("drop table if exists known")
    connection.execute(
        sql.SQL(
            """create temp table known on commit drop as
               select d.receiver_key, d.datetime, d.transmitter_key, d.sensor_value, d.submission_no, d.receiver
               from {} d, (select min(datetime) - interval '15 hours' as first, max(datetime) + interval '15 hours' as last
                   from staged) span
               where d.withdrawn_at is null and d.datetime between span.first and span.last"""
        ).format(receiver_tables.rows(connection, ACCEPTED, keys))
    )
    connection.execute("create index on known (receiver_key, transmitter_key, datetime)")
    connection.execute("analyze known")


def _hold_other_zone(connection: Connection, submission: Submission, own: int) -> None:
    """Raise Undecided where a receiver's rows are, but for a whole number of half hours, those that another file gave."""
    if decisions.answer(connection, Topic.TIME_ZONE, submission.submission_key) == "accept":
        return
    shifted = connection.execute(
        """with sampled as (
               select receiver_key, datetime, transmitter_key, receiver from (
                   select *, row_number() over (partition by receiver_key order by datetime) as n,
                       count(*) over (partition by receiver_key) as rows from staged) s
               where rows >= %(least)s and n %% greatest(rows / %(sampled)s, 1) = 0),
           found as (
               select s.receiver_key, min(s.receiver) as receiver, shift, count(distinct (s.datetime, s.transmitter_key)) as hits
               from sampled s cross join generate_series(-28, 28) as shift
               join known k on k.receiver_key = s.receiver_key and k.transmitter_key = s.transmitter_key
                   and k.datetime = s.datetime + shift * interval '30 minutes' and k.submission_no not in (%(own)s, %(mine)s)
               group by s.receiver_key, shift),
           totals as (select receiver_key, count(*) as rows from sampled group by receiver_key)
           select receiver, shift * 0.5, hits, rows from found join totals using (receiver_key)
           where shift <> 0 and hits > %(share)s * rows
               and not exists (select 1 from found same where same.receiver_key = found.receiver_key and same.shift = 0
                   and same.hits >= found.hits) order by 1""",
        {
            "least": LEAST_SHIFTED,
            "sampled": SAMPLED,
            "share": SHARE_SHIFTED,
            "own": own,
            "mine": submission.submission_no,
        },
    ).fetchall()
    if shifted:
        details = [
            f"{receiver}: {hits} of {rows} rows that were compared are loaded {abs(hours):g} hours {'later' if hours > 0 else 'earlier'}"
            for receiver, hours, hits, rows in shifted
        ]
        raise Undecided(
            Topic.TIME_ZONE,
            "the same detections are loaded already under another time zone; one of the two files is not in UTC."
            " Reject this one and export it again in UTC, or accept it if these are other detections.",
            details,
        )


def _find_repeated(connection: Connection, submission: Submission) -> None:
    """Rows of ``staged`` that are loaded, as the table ``repeated``: the same, or the same to the coarser of two precisions."""
    connection.execute("drop table if exists repeated")
    connection.execute(
        """create temp table repeated on commit drop as
           select s.row_number, s.receiver_key, s.transmitter_key, s.datetime, s.sensor_value from staged s
           where exists (select 1 from known k where k.receiver_key = s.receiver_key and k.transmitter_key = s.transmitter_key
               and k.datetime = s.datetime and k.sensor_value is not distinct from s.sensor_value)"""
    )
    reading_of = readings.of(connection, submission.submission_key)
    mine = (reading_of.precision_us if reading_of else None) or SECOND
    connection.execute(
        """with precisions as (
               select submission_no, coalesce(r.precision_us, %(second)s) as finest from platform.submissions
               left join platform.readings r using (submission_key) where submission_no in (select distinct submission_no from known)),
           open_rows as (
               select s.*, date_trunc('second', s.datetime) as second, row_number() over (partition by receiver_key, transmitter_key,
                   sensor_value, date_trunc('second', s.datetime) order by s.datetime) as nth
               from staged s where not exists (select 1 from repeated r where r.row_number = s.row_number)),
           others as (
               select k.*, finest, date_trunc('second', k.datetime) as second, row_number() over (partition by receiver_key,
                   transmitter_key, sensor_value, date_trunc('second', k.datetime) order by k.datetime) as nth
               from known k join precisions using (submission_no)
               where (finest <> %(mine)s or least(finest, %(mine)s) < %(second)s) and not exists (select 1 from repeated r
                   where r.receiver_key = k.receiver_key and r.transmitter_key = k.transmitter_key and r.datetime = k.datetime
                       and r.sensor_value is not distinct from k.sensor_value))
           insert into repeated select s.row_number, s.receiver_key, s.transmitter_key, s.datetime, s.sensor_value
           from open_rows s join others o on o.receiver_key = s.receiver_key and o.transmitter_key = s.transmitter_key
               and o.second = s.second and o.nth = s.nth and o.sensor_value is not distinct from s.sensor_value
           where greatest(finest, %(mine)s) >= %(second)s or abs(extract(epoch from (s.datetime - o.datetime))) <= 0.001""",
        {"mine": mine, "second": SECOND},
    )
    connection.execute("create index on repeated (row_number)")


def _note_repeated(connection: Connection, submission: Submission, own: int) -> None:
    """Whose rows the file repeats, by receiver: they are not loaded again, and double reporting (D25) is seen by this alone.

    own: the submission that this one replaces, or itself. Safe to repeat.
    """
    connection.execute("delete from platform.repeated_rows where submission_key = %s", [submission.submission_key])
    connection.execute(
        """insert into platform.repeated_rows
           select %(key)s, submission_no, receiver_key, count(*) from (
               select distinct on (r.row_number) r.row_number, r.receiver_key, k.submission_no
               from repeated r join known k on k.receiver_key = r.receiver_key and k.transmitter_key = r.transmitter_key
                   and date_trunc('second', k.datetime) = date_trunc('second', r.datetime)
                   and k.sensor_value is not distinct from r.sensor_value
               where k.submission_no not in (%(own)s, %(mine)s) order by r.row_number, k.submission_no) found
           group by submission_no, receiver_key""",
        {"key": submission.submission_key, "own": own, "mine": submission.submission_no},
    )


def _withdraw_missing(connection: Connection, submission: Submission) -> int:
    """Rows of the superseded file: those in both files now belong to the new one, the others are withdrawn if a person agrees."""
    before = submissions.loaded_before(connection, submission)
    if before is None:
        return 0
    old = submissions.get(connection, before).submission_no
    mine = year_tables(connection, submission.collectioncode, "detections")
    for year, table in mine.items():
        moved = connection.execute(
            sql.SQL(
                "update {} d set submission_no = %s, row_number = s.row_number from staged s"
                " where d.submission_no = %s and d.receiver_key = s.receiver_key and d.datetime = s.datetime"
                " and d.transmitter_key = s.transmitter_key and d.sensor_value is not distinct from s.sensor_value"
            ).format(table),
            [submission.submission_no, old],
        ).rowcount
        if moved:  # whose row it is stands in the snapshot, too
            _bump(connection, submission.collectioncode, year)
    missing = [row for table in mine.values() for row in _left_of(connection, table, old)]
    if not missing:
        return 0
    if decisions.answer(connection, Topic.REMOVAL, submission.submission_key) != "accept":
        details = [f"{row} is no longer in the file" for row in missing[:50]]
        details += [f"... and {len(missing) - 50} more"] if len(missing) > 50 else []
        raise decisions.HeldForPerson(Topic.REMOVAL, submission.submission_key, details)
    for table in mine.values():
        connection.execute(
            sql.SQL(
                "update {} set withdrawn_at = platform.now() where submission_no = %s and withdrawn_at is null"
            ).format(table),
            [old],
        )
    _bump(connection, submission.collectioncode, None)
    return len(missing)


def _left_of(connection: Connection, table: sql.Identifier, submission_no: int) -> list[str]:
    """Rows of a year table that still belong to a submission, in words."""
    query = sql.SQL(
        "select receiver || ' ' || datetime || ' ' || transmitter from {} where submission_no = %s and withdrawn_at is null"
        " order by row_number"
    ).format(table)
    return [row for (row,) in connection.execute(query, [submission_no])]


def _accept_year(connection: Connection, submission: Submission, year: int) -> tuple[int, int]:
    target = ensure_year_table(connection, submission.collectioncode, "detections", year)
    total = connection.execute("select count(*) from staged where extract(year from datetime) = %s", [year]).fetchone()
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
                     and not exists (select 1 from repeated r where r.row_number = s.row_number) order by row_number) fresh
               on conflict do nothing"""
        ).format(target),
        [submission.submission_no, year],
    ).rowcount
    if inserted or revived:
        _bump(connection, submission.collectioncode, year)
        staged = sql.SQL("select receiver_key from staged where extract(year from datetime) = {}")
        receiver_tables.note(connection, ACCEPTED, submission.collectioncode, year, staged.format(sql.Literal(year)))
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


def _counts(connection: Connection, submission: Submission, keys: list[int], usable: int) -> Counts:
    row = connection.execute(
        sql.SQL(
            "select (select count(*) from {} d where submission_no = %s and withdrawn_at is null),"
            " (select refused_rows from platform.submissions where submission_key = %s)"
        ).format(receiver_tables.rows(connection, ACCEPTED, keys, submission.collectioncode)),
        [submission.submission_no, submission.submission_key],
    ).fetchone()
    assert row is not None
    loaded, refused = row
    return Counts(raw=usable + refused, loaded=loaded, duplicate=usable - loaded, refused=refused)
