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
    select k.receiver_key, min(m.startdatetime) as first, max(m.startdatetime) as last from obis.moorings m
    join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber
    where m.basisofrecord = 'RECEIVER' and k.receiver_key in (select receiver_key from waiting) group by 1),
codes as (
    select fieldnumber as transmitter, bool_or(relationshiptype = 'ANIMAL') as animal,
        bool_or(relationshiptype = 'STATION' and collectornumber is not null) as transceiver,
        bool_or(relationshiptype = 'STATION') as test
    from obis.moorings where fieldnumber in (select transmitter from waiting) group by 1),
placed as (
    select w.receiver, w.datetime, case when known.first is null then 'no known deployment'
            when w.datetime < known.first then 'before deployments'
            when w.datetime >= known.last then 'after deployments'
            else 'between deployments' end as position,
        case when codes.animal then 'animal' when codes.transceiver then 'transceiver' when codes.test then 'test' else 'animal' end as tag
    from waiting w left join known using (receiver_key) left join codes using (transmitter))
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
