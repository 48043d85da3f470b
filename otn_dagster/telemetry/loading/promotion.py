"""Detections to ``otn_detections_YYYY``: corrected in time and assigned to the deployment that heard them.

Belongs here: keeping the upper detection tables equal to what the rules say of some receivers. Does not belong here: the
rules (``rules.py``).

Whatever arrives (detections, deployments, events), the receivers it touches are promoted again; rows that come out the
same are left alone. A detection without a receiver deployment is not promoted (detections-3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import PROMOTION_LOCK, Connection
from otn_dagster.telemetry import engine, inputs, receiver_tables
from otn_dagster.telemetry.project_tables import ensure_year_table, table
from otn_dagster.telemetry.receiver_tables import ACCEPTED, PROMOTED


@dataclass(frozen=True)
class Promotion:
    """What happened to the upper tables: rows written, rows taken back, and detections that still have no receiver."""

    receivers: int
    detections: int
    promoted: int
    inserted: int
    removed: int
    without_receiver: int
    moved_year: int


def promote(connection: Connection, serials: Sequence[str]) -> Promotion:
    """Bring ``otn_detections_YYYY`` up to date for these receivers, in the caller's transaction.

    Safe to repeat: compares first, then writes only what differs. One promotion at a time: detections and deployments of
    the same receivers may arrive together, and the later of the two must see both.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", [PROMOTION_LOCK])
    keys = receiver_tables.keys_of(connection, serials)
    found = inputs.detections(connection, receiver_tables.rows(connection, ACCEPTED, keys))
    deployments = inputs.deployments(connection, serials)
    receivers = pl.DataFrame({"receiver_key": keys}, schema={"receiver_key": pl.Int32})
    placed = engine.assigned(found, receivers, inputs.clock_segments(connection, keys), deployments)
    placed = placed.join(deployments.drop("project_key", "receiver_key"), on="deployment_key", how="left")
    inserted, removed = _write(connection, placed, keys)
    moved = placed.filter(
        pl.from_epoch("device_ms", time_unit="ms").dt.year() != pl.from_epoch("time_ms", time_unit="ms").dt.year()
    )
    with_receiver = placed.filter(pl.col("deployment_key").is_not_null()).height
    return Promotion(
        receivers=len(keys),
        detections=found.height,
        promoted=with_receiver,
        inserted=inserted,
        removed=removed,
        without_receiver=found.height - with_receiver,
        moved_year=moved.height,
    )


def _write(connection: Connection, placed: pl.DataFrame, keys: list[int]) -> tuple[int, int]:
    rows = placed.filter(pl.col("deployment_key").is_not_null()).with_columns(
        pl.from_epoch("time_ms", time_unit="ms").cast(pl.Datetime("us")).alias("datecollected"),
        pl.from_epoch("device_ms", time_unit="ms").cast(pl.Datetime("us")).alias("uncorrected_datecollected"),
        pl.from_epoch("base_day", time_unit="d").alias("modified"),
    )
    connection.execute("create temp table if not exists promoting (like obis.otn_detections) on commit drop")
    connection.execute("truncate promoting")
    connection.execute(
        "create temp table if not exists placed (det_key bigint, receiver_key int, transmitter_key int, collectioncode text,"
        " rcvrcatnumber text, rcv_serial_no text, station text, bottom_depth float8, receiver_depth float8, latitude float8,"
        " longitude float8, sensor_value float8, datecollected timestamp, uncorrected_datecollected timestamp, modified date)"
        " on commit drop"
    )
    connection.execute("truncate placed")
    columns = "det_key receiver_key transmitter_key collectioncode rcvrcatnumber rcv_serial_no station bottom_depth receiver_depth"
    columns += " latitude longitude sensor_value datecollected uncorrected_datecollected modified"
    transfer.copy_in(connection, sql.Identifier("placed"), rows.select(columns.split()))
    connection.execute(
        """insert into promoting (collectioncode, catalognumber, fieldnumber, collectornumber, station, bottom_depth,
               receiver_depth, sensorname, sensorraw, datecollected, longitude, latitude, yearcollected, monthcollected,
               daycollected, julianday, timeofday, datelastmodified, rcvrcatnumber, det_key, receiver_key,
               uncorrected_datecollected)
           select collectioncode, transmitter || '-' || det_key, transmitter, rcv_serial_no, station, bottom_depth,
               receiver_depth, case when sensor_value is not null then transmitter end, sensor_value, datecollected, longitude,
               latitude, extract(year from datecollected)::int, extract(month from datecollected)::int,
               extract(day from datecollected)::int, extract(doy from datecollected)::int,
               extract(epoch from datecollected::time) / 3600, modified, rcvrcatnumber, det_key, receiver_key,
               uncorrected_datecollected
           from placed join platform.transmitter_keys using (transmitter_key)"""
    )
    same = sql.SQL(
        "o.det_key = p.det_key and o.datecollected = p.datecollected and o.rcvrcatnumber = p.rcvrcatnumber"
        " and o.collectioncode = p.collectioncode and o.datelastmodified = p.datelastmodified and o.station = p.station"
        " and o.latitude = p.latitude and o.longitude = p.longitude and o.bottom_depth is not distinct from p.bottom_depth"
        " and o.receiver_depth is not distinct from p.receiver_depth"
    )
    removed = 0
    for place in receiver_tables.tables(connection, PROMOTED, keys):
        removed += connection.execute(
            sql.SQL(
                "delete from {} o where receiver_key = any(%s) and not exists (select 1 from promoting p where {})"
            ).format(place, same),
            [keys],
        ).rowcount
    inserted = 0
    places = connection.execute("select distinct collectioncode, yearcollected from promoting order by 1, 2").fetchall()
    for code, year in places:
        target = ensure_year_table(connection, code, "otn_detections", year)
        inserted += connection.execute(
            sql.SQL(
                "insert into {} ({columns}) select {columns} from promoting p where collectioncode = %s and yearcollected = %s"
                " and not exists (select 1 from {} o where {}) order by det_key"
            ).format(target, table(code, f"otn_detections_{year}"), same, columns=_columns(connection)),
            [code, year],
        ).rowcount
        mine = sql.SQL("select receiver_key from promoting where collectioncode = {} and yearcollected = {}")
        receiver_tables.note(connection, PROMOTED, code, year, mine.format(sql.Literal(code), sql.Literal(year)))
    return inserted, removed


def _columns(connection: Connection) -> sql.Composed:
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = 'obis' and table_name = 'otn_detections'"
        " and is_generated = 'NEVER' order by ordinal_position"
    ).fetchall()
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)
