"""Promoted detections counted against accepted ones, receiver by receiver: what D17 to D20 look at.

Belongs here: two passes, one over ``otn_detections`` and one over the accepted detections, however many projects there are. Does not belong
here: the checks (``detections.py``).

Counted independently of the assignment: a detection a day or more inside a deployment must be promoted, one that was not accepted must not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection, Session
from otn_dagster.telemetry import inputs
from otn_dagster.telemetry.checks.registry import Rows
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.receiver_tables import PROMOTED

TABLES_AT_ONCE = 50  # one transaction over all would lock every table of the network
ROWS_AT_ONCE = 5_000_000
DAY_MS = 86_400_000
PARTS = {
    "project": pl.String,
    "year": pl.Int32,
    "receiver_key": pl.Int32,
    "rows": pl.Int64,
    "sensors": pl.Int64,
    "no_position": pl.Int64,
    "other_dates": pl.Int64,
}


@dataclass(frozen=True)
class Promoted:
    """by_year: PARTS of every project, year and receiver. by_receiver: rows and sensors, accepted, certain (inside a deployment), promoted."""

    by_year: pl.DataFrame
    by_receiver: pl.DataFrame

    def of_year(self, column: str) -> Rows:
        """Projects and years in which rows are wrong in a way that a column counts."""
        counted = self.by_year.group_by("project", "year").agg(rows=pl.col(column).sum()).filter(pl.col("rows") > 0)
        return counted.sort("project", "year").to_dicts()

    def outside(self, what: str) -> Rows:
        """Receivers of which fewer are promoted than are certain, or more than were accepted. what: rows or sensors."""
        accepted, certain, promoted = (pl.col(f"{what}_{name}") for name in ("accepted", "certain", "promoted"))
        wrong = self.by_receiver.filter((promoted < certain) | (promoted > accepted))
        return wrong.select(
            "project", "rcv_serial_no", accepted=accepted, inside_a_deployment=certain, promoted=promoted
        ).to_dicts()


def count(connection: Connection, settings: Settings, snapshot: Snapshot) -> Promoted:
    """Both passes. Nothing loads meanwhile."""
    parts = connection.execute(
        "select distinct collectioncode, year from platform.receiver_tables r where part = %s and exists (select 1 from pg_tables t"
        " where t.schemaname = lower(r.collectioncode) and t.tablename = part || '_' || year) order by 1, 2",
        [PROMOTED],
    ).fetchall()
    with Session(settings) as session:
        by_year = pl.concat([pl.DataFrame(schema=PARTS), *_promoted(session, parts)])
        found = pl.concat([pl.DataFrame(schema=_COUNTED), *_accepted(connection, session, snapshot)])
    accepted = found.group_by("receiver_key").agg(pl.exclude("receiver_key").sum())
    promoted = by_year.group_by("receiver_key").agg(
        rows_promoted=pl.col("rows").sum(), sensors_promoted=pl.col("sensors").sum(), by=pl.col("project").first()
    )
    deployments = snapshot.table("deployments").group_by("receiver_key").agg(pl.col("collectioncode").first())
    joined = accepted.join(promoted, on="receiver_key", how="full", coalesce=True)
    joined = joined.join(deployments, on="receiver_key", how="left").join(
        snapshot.table("receivers"), on="receiver_key"
    )
    counts = pl.selectors.starts_with("rows_", "sensors_").fill_null(0)
    named = joined.with_columns(counts, project=pl.coalesce("collectioncode", "by"))
    return Promoted(by_year, named.filter(pl.col("project").is_not_null()).sort("project", "rcv_serial_no"))


def _promoted(session: Session, parts: Sequence[tuple[str, int]]) -> Iterator[pl.DataFrame]:
    for some in batched(parts, TABLES_AT_ONCE):
        selects = [
            sql.SQL(
                "select {code}, {year}, receiver_key, count(*), count(sensorraw), count(*) filter (where the_geom is null),"
                " count(*) filter (where yearcollected <> {year} or datecollected::date - make_date({year}, 1, 1) + 1 <> julianday)"
                " from {place} group by receiver_key"
            ).format(code=sql.Literal(code), year=sql.Literal(year), place=table(code, f"{PROMOTED}_{year}"))
            for code, year in some
        ]
        with session.transaction() as reading:
            yield transfer.copy_out(reading, sql.SQL(" union all ").join(selects), PARTS)


_COUNTED = {
    "receiver_key": pl.Int32,
    **dict.fromkeys(["rows_accepted", "sensors_accepted", "rows_certain", "sensors_certain"], pl.Int64),
}


def _accepted(connection: Connection, session: Session, snapshot: Snapshot) -> Iterator[pl.DataFrame]:
    """Accepted detections by receiver, file by file: the snapshot's, and the live table where the snapshot leaves something of it out."""
    windows = inputs.deployments(connection).select(
        "receiver_key", first=pl.col("start_ms") + DAY_MS, last=pl.col("recovered_ms").fill_null(2**62) - DAY_MS
    )
    windows = windows.sort("first")
    held: list[Path] = []
    rows = 0
    for name, path in snapshot.detections.items():
        entry = snapshot.manifest["files"][f"detections/{name}.parquet"]
        if "version" not in entry:
            code, year = name.rsplit("-", 1)
            with session.transaction() as reading:
                yield _counted(inputs.detections(reading, table(code, f"detections_{year}")).lazy(), windows)
            continue
        held, rows = [*held, path], rows + entry["rows"]
        if rows >= ROWS_AT_ONCE:
            yield _counted(pl.scan_parquet(held), windows)
            held, rows = [], 0
    if held:
        yield _counted(pl.scan_parquet(held), windows)


def _counted(detections: pl.LazyFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """A row is certain where the last window that began before it has not ended: windows of a receiver that overlap only lose certainty."""
    sensor = pl.col("sensor_value").is_not_null().alias("sensor")
    rows = detections.select("receiver_key", "device_ms", sensor).collect(engine="streaming")
    near = rows.sort("device_ms").join_asof(
        windows, left_on="device_ms", right_on="first", by="receiver_key", strategy="backward", check_sortedness=False
    )
    certain = (pl.col("device_ms") <= pl.col("last")).fill_null(False)
    counted = near.group_by("receiver_key").agg(
        rows_accepted=pl.len(),
        sensors_accepted=pl.col("sensor").sum(),
        rows_certain=certain.sum(),
        sensors_certain=(certain & pl.col("sensor")).sum(),
    )
    return counted.cast(_COUNTED)  # type: ignore[arg-type]
