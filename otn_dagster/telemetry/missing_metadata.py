"""The missing-metadata report (detections-3b): detections that wait for a receiver deployment, receiver by receiver.

Belongs here: counting and wording. Does not belong here: assigning receivers (``promotion.py``).
"""

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.database import Connection
from otn_dagster.telemetry import receiver_tables
from otn_dagster.telemetry.receiver_tables import ACCEPTED, PROMOTED

REPORT_THRESHOLD = 100  # detections per receiver, as in the field's notebook

QUERY = """
with waiting as (
    select d.receiver, d.receiver_key, d.datetime, d.transmitter
    from {accepted} d where d.withdrawn_at is null
        and not exists (select 1 from {promoted} o where o.det_key = d.det_key)),
known as (
    select k.receiver_key, m.startdatetime, m.enddatetime from obis.moorings m
    join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber where m.basisofrecord = 'RECEIVER'),
placed as (
    select w.*, case
        when not exists (select 1 from known where known.receiver_key = w.receiver_key) then 'no known deployment'
        when w.datetime < (select min(startdatetime) from known where known.receiver_key = w.receiver_key) then 'before deployments'
        when not exists (select 1 from known where known.receiver_key = w.receiver_key and startdatetime > w.datetime)
            then 'after deployments'
        else 'between deployments' end as position,
        case when exists (select 1 from obis.moorings m where m.fieldnumber = w.transmitter and m.relationshiptype = 'ANIMAL') then 'animal'
             when exists (select 1 from obis.moorings m where m.fieldnumber = w.transmitter and m.relationshiptype = 'STATION'
                 and m.collectornumber is not null) then 'transceiver'
             when exists (select 1 from obis.moorings m where m.fieldnumber = w.transmitter and m.relationshiptype = 'STATION') then 'test'
             else 'animal' end as tag
    from waiting w)
select receiver, position, count(*) as detections, count(*) filter (where tag = 'transceiver') as transceiver,
    count(*) filter (where tag = 'animal') as animal, count(*) filter (where tag = 'test') as test,
    min(datetime) as first, max(datetime) as last
from placed group by receiver, position order by count(*) desc, receiver, position
"""


def report(connection: Connection, collectioncode: str, receiver_keys: Sequence[int]) -> list[dict[str, Any]]:
    """One row per receiver (of these, as a project sent them) and position relative to its known deployments, most detections first,
    each with its sentence.
    """
    query = sql.SQL(QUERY).format(
        accepted=receiver_tables.gathered(connection, "mine", ACCEPTED, receiver_keys, collectioncode),
        promoted=receiver_tables.gathered(connection, "promoted", PROMOTED, receiver_keys),
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query).fetchall()
    return [{**row, "report": sentence(row), "above_threshold": row["detections"] >= REPORT_THRESHOLD} for row in rows]


def of_project(connection: Connection, collectioncode: str) -> list[dict[str, Any]]:
    """The same of all receivers of which a project sent detections."""
    keys = connection.execute(
        "select distinct receiver_key from platform.receiver_tables where part = %s and collectioncode = %s order by 1",
        [ACCEPTED, collectioncode],
    ).fetchall()
    return report(connection, collectioncode, [key for (key,) in keys])


def sentence(row: dict[str, Any]) -> str:
    """``VR2W-123456 missing 120 detections (0 transceiver tags, 120 animal tags, 0 test tags) (before deployments) (a to b)``."""
    return (
        f"{row['receiver']} missing {row['detections']} detections ({row['transceiver']} transceiver tags, {row['animal']} animal"
        f" tags, {row['test']} test tags) ({row['position']}) ({row['first']} to {row['last']})"
    )
