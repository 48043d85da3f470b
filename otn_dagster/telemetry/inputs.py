"""What the rules read, as queries on the node database: the same for loading (some receivers) and for a snapshot (all).

Belongs here: which rows and columns of the node database feed ``rules.py``. Does not belong here: the rules.
"""

from collections.abc import Sequence

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection

MS = "(extract(epoch from {})*1000)::bigint"  # a field time (UTC without zone) as milliseconds
DAY = "(({} at time zone 'UTC')::date - date '1970-01-01')"  # a platform time as days, for dateLastModified

DETECTIONS = {
    "det_key": pl.Int64,
    "submission_no": pl.Int32,
    "receiver_key": pl.Int32,
    "transmitter_key": pl.Int32,
    "device_ms": pl.Int64,
    "sensor_value": pl.Float64,
    "loaded_day": pl.Int32,
}
DEPLOYMENTS = {
    "deployment_key": pl.Int32,
    "receiver_key": pl.Int32,
    "collectioncode": pl.String,
    "project_key": pl.Int16,
    "start_ms": pl.Int64,
    "recovered_ms": pl.Int64,
    "modified_day": pl.Int32,
    "rcvrcatnumber": pl.String,
    "rcv_serial_no": pl.String,
    "rcv_model_no": pl.String,
    "station": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "bottom_depth": pl.Float64,
    "receiver_depth": pl.Float64,
    "recover_ind": pl.String,
    "notes": pl.String,
    "last_download_ms": pl.Int64,
    "downloads": pl.Int32,
}
SEGMENTS = {
    "receiver_key": pl.Int32,
    "segment": pl.Int32,
    "start_ms": pl.Int64,
    "end_ms": pl.Int64,
    "offset_ms": pl.Float64,
    "factor": pl.Float64,
    "modified_day": pl.Int32,
}


def detections(connection: Connection, table: sql.Composable) -> pl.DataFrame:
    """Accepted detections of a table (or what can be selected from like one) in the order in which the push needs them: receiver,
    transmitter, device time, det_key.
    """
    query = sql.SQL(
        "select det_key, submission_no, receiver_key, transmitter_key, {}, sensor_value, {} from {} d where withdrawn_at is null"
        " order by receiver_key, transmitter_key, datetime, det_key"
    ).format(
        sql.SQL(MS.format("datetime")),  # type: ignore[arg-type]
        sql.SQL(DAY.format("loaded_at")),  # type: ignore[arg-type]
        table,
    )
    return transfer.copy_out(connection, query, DETECTIONS)


def deployments(connection: Connection, serials: Sequence[str] | None = None) -> pl.DataFrame:
    """Receiver deployments of all projects, or of these receiver serials."""
    connection.execute(
        "insert into platform.receiver_keys (rcv_serial_no) select distinct collectornumber from obis.moorings"
        " where basisofrecord = 'RECEIVER' and collectornumber is not null"
        " and not exists (select 1 from platform.receiver_keys k where k.rcv_serial_no = collectornumber) on conflict do nothing"
    )
    return transfer.copy_out(
        connection,
        f"""select m.mooring_key, k.receiver_key, m.collectioncode, r.project_key, {MS.format("m.startdatetime")}, {MS.format("m.enddatetime")},
               {DAY.format("m.datelastmodified")}, m.catalognumber, m.collectornumber, m.instrumentmodel, m.relatedcatalogitem,
               m.latitude, m.longitude, m.bottom_depth, m.receiver_depth, m.recover_ind, m.notes,
               {MS.format("d.last_download")}, coalesce(d.downloads, 0)
           from obis.moorings m join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber
           join obis.otn_resources r on r.collectioncode = m.collectioncode
           left join (select relatedcatalogitem, collectioncode, max(startdatetime) as last_download, count(*)::int as downloads
                      from obis.moorings where basisofrecord = 'DOWNLOAD' group by 1, 2) d
               on d.relatedcatalogitem = m.catalognumber and d.collectioncode = m.collectioncode
           where m.basisofrecord = 'RECEIVER' and (%s::text[] is null or m.collectornumber = any(%s))
           order by 2, 4, 1""",
        DEPLOYMENTS,
        [list(serials) if serials is not None else None] * 2,
    )


def clock_segments(connection: Connection, receiver_keys: Sequence[int] | None = None) -> pl.DataFrame:
    """Accepted pieces of clock drift; a last piece includes the instant of its offload."""
    return transfer.copy_out(
        connection,
        f"""select receiver_key, segment, {MS.format("initialized_at")},
               {MS.format("offload_at")} + case when lead(initialized_at) over w is not distinct from offload_at then 0 else 1 end,
               offset_start * 1000, factor, {DAY.format("loaded_at")}
           from platform.time_drift_factors
           where accepted and (%s::int[] is null or receiver_key = any(%s))
           window w as (partition by receiver_key order by initialized_at) order by 1, 3""",
        SEGMENTS,
        [list(receiver_keys) if receiver_keys is not None else None] * 2,
    )
