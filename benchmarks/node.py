"""A loaded node database with a large simulated network: where a push begins.

What loading would have left there is written by ``COPY``: projects with their people, animals, transmitters, deployments, clocks and
detections, each in the tables that loading makes. Loading itself is measured by ``benchmarks/loading.py``.
"""

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.telemetry.project_tables import ensure_project_tables, ensure_year_table, table
from otn_dagster.telemetry.push.snapshot import Snapshot

LOADED = "2026-01-01T00:00:00+00"


def fill(connection: Connection, snapshot: Snapshot) -> None:
    """Everything that a push of this network reads, in one transaction."""
    projects = snapshot.table("projects")["collectioncode"].to_list()
    tags, transmitters = snapshot.table("tags"), snapshot.table("transmitters")
    _projects(connection, projects)
    for name, frame in (("receiver", snapshot.table("receivers")), ("transmitter", transmitters)):
        transfer.copy_in(connection, sql.Identifier("platform", f"{name}_keys"), frame)
    _submissions(connection, snapshot)
    deployments, station_tags = snapshot.table("deployments"), snapshot.table("station_tags")
    for number, code in enumerate(projects):
        for kind in ("tags", "deployments"):
            ensure_project_tables(connection, code, kind)
        _tags(connection, code, tags.filter(pl.col("trackercode") == code))
        _deployments(connection, code, deployments.filter(pl.col("collectioncode") == code))
        _station_tags(connection, code, station_tags[number :: len(projects)])
    _clocks(connection, snapshot)
    names = transmitters.select("transmitter_key", "transmitter")
    for partition, path in snapshot.detections.items():
        code, year = partition.rsplit("-", 1)
        _detections(connection, code, int(year), pl.read_parquet(path).join(names, on="transmitter_key", how="left"))


def _projects(connection: Connection, codes: list[str]) -> None:
    resources = pl.DataFrame({"collectioncode": codes}).with_columns(
        node=pl.lit("OTN"),
        projecttype=pl.lit("data"),
        resource_full_name=pl.format("Project {}", "collectioncode"),
        submission_key=pl.lit("none"),
        datelastmodified=pl.lit(LOADED),
    )
    transfer.copy_in(connection, sql.Identifier("obis", "otn_resources"), resources)
    people = pl.DataFrame({"name": codes}).with_columns(
        email=pl.format("{}@example.org", pl.col("name").str.to_lowercase())
    )
    transfer.copy_in(connection, sql.Identifier("obis", "contacts"), people)
    connection.execute(
        "insert into obis.contacts_projects select contact_pk, name, 'Principal Investigator', true from obis.contacts"
    )


def _submissions(connection: Connection, snapshot: Snapshot) -> None:
    rows = snapshot.table("submissions").with_columns(
        file_name=pl.format("{}.csv", "submission_no"),
        bytes=pl.lit(0),
        stored_path=pl.lit(""),
        loaded_at=pl.lit(LOADED),
        received_at=pl.lit(LOADED),
        sha256=pl.col("submission_no").cast(pl.String),
    )
    connection.execute("create temp table given (like platform.submissions) on commit drop")
    transfer.copy_in(connection, sql.Identifier("given"), rows)
    connection.execute("insert into platform.submissions overriding system value select * from given")
    connection.execute("select setval(pg_get_serial_sequence('platform.submissions', 'submission_no'), 2)")


def _time(column: str) -> pl.Expr:
    return pl.from_epoch(column, time_unit="ms")


def _tags(connection: Connection, code: str, tags: pl.DataFrame) -> None:
    animals = tags.select(
        "animal_key",
        "catalognumber",
        "scientificname",
        "commonname",
        basisofrecord=pl.lit("HumanObservation"),
        collectioncode="trackercode",
        datelastmodified=pl.lit(LOADED),
        datecollected=_time("release_ms"),
        latitude="release_latitude",
        longitude="release_longitude",
    )
    transfer.copy_in(connection, table(code, "otn_animals"), animals)
    transmitters = tags.select(
        mooring_key="tag_key",
        basisofrecord=pl.lit("TRANSMITTER"),
        collectioncode="trackercode",
        catalognumber=pl.format("{}-{}", "catalognumber", "transmitter"),
        relatedcatalogitem="catalognumber",
        relationshiptype=pl.lit("ANIMAL"),
        fieldnumber="transmitter",
        startdatetime=_time("release_ms"),
        enddatetime=_time("end_ms"),
        datelastmodified=pl.lit(LOADED),
    )
    transfer.copy_in(connection, table(code, "otn_transmitters"), transmitters)


def _deployments(connection: Connection, code: str, deployments: pl.DataFrame) -> None:
    rows = deployments.select(
        mooring_key=pl.col("deployment_key") + 10_000_000,
        basisofrecord=pl.lit("RECEIVER"),
        collectioncode="collectioncode",
        catalognumber="rcvrcatnumber",
        relatedcatalogitem="station",
        collectornumber="rcv_serial_no",
        instrumentmodel="rcv_model_no",
        startdatetime=_time("start_ms"),
        enddatetime=_time("recovered_ms"),
        latitude="latitude",
        longitude="longitude",
        bottom_depth="bottom_depth",
        receiver_depth="receiver_depth",
        recover_ind="recover_ind",
        datelastmodified=pl.lit(LOADED),
    )
    transfer.copy_in(connection, table(code, "moorings"), rows)


def _station_tags(connection: Connection, code: str, tags: pl.DataFrame) -> None:
    rows = tags.select(
        mooring_key=pl.col("mooring_key") + 20_000_000,
        basisofrecord=pl.lit("TRANSMITTER"),
        collectioncode=pl.lit(code),
        catalognumber="transmitter",
        relationshiptype=pl.lit("STATION"),
        fieldnumber="transmitter",
        startdatetime=pl.lit("2016-01-01"),
        datelastmodified=pl.lit(LOADED),
    )
    transfer.copy_in(connection, table(code, "moorings"), rows)


def _clocks(connection: Connection, snapshot: Snapshot) -> None:
    segments = snapshot.table("clock_segments").join(snapshot.table("receivers"), on="receiver_key")
    rows = segments.select(
        "receiver_key",
        "factor",
        receiver=pl.format("VR2W-{}", "rcv_serial_no"),
        segment=pl.int_range(pl.len()).over("receiver_key"),
        initialized_at=_time("start_ms"),
        offload_at=_time("end_ms"),
        offset_start=pl.col("offset_ms") / 1000,
        offset_end=pl.lit(0.0),
        accepted=pl.lit("t"),
        source=pl.lit("none"),
        loaded_at=pl.lit(LOADED),
    )
    transfer.copy_in(connection, sql.Identifier("platform", "time_drift_factors"), rows)


def _detections(connection: Connection, code: str, year: int, rows: pl.DataFrame) -> None:
    target = ensure_year_table(connection, code, "detections", year)
    transfer.copy_in(connection, target, _given(rows))
    connection.execute("insert into platform.partition_versions values (%s, %s, 1)", [code, year])


def _given(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "det_key",
        "submission_no",
        "receiver_key",
        "transmitter_key",
        "transmitter",
        "sensor_value",
        row_number="det_key",
        receiver=pl.format("VR2W-{}", "receiver_key"),
        datetime=_time("device_ms"),
        loaded_at=pl.lit(LOADED),
    )


def change(connection: Connection, snapshot: Snapshot, percent: float, scattered: bool = False) -> str:
    """As if so many receivers were offloaded once more: fifty new detections of each in its newest year. Says what changed.

    They are receivers that became known together, as those of a few projects do; or each the hundredth of all.
    """
    known = snapshot.table("receivers")["receiver_key"].sort()
    some = max(1, round(known.len() * percent / 100))
    chosen = known.gather_every(known.len() // some) if scattered else known.slice(known.len() // 2, some)
    newest = {}
    for partition, path in snapshot.detections.items():
        code, year = partition.rsplit("-", 1)
        newest[code] = max(newest.get(code, ("", path)), (year, path))
    key = int(pl.scan_parquet(list(snapshot.detections.values())).select(pl.col("det_key").max()).collect().item())
    names, receivers, rows = snapshot.table("transmitters"), set(), 0
    for code, (year, path) in sorted(newest.items()):
        mine = pl.read_parquet(path).filter(pl.col("receiver_key").is_in(chosen.implode()))
        fresh = (
            mine.group_by("receiver_key", maintain_order=True)
            .head(50)
            .with_columns(
                det_key=pl.int_range(key + 1, key + 1 + pl.len()),
                device_ms=pl.col("device_ms") + 1_000,
                submission_no=pl.lit(3, pl.Int32),
            )
        )
        if fresh.height:
            target = table(code, f"detections_{year}")
            transfer.copy_in(connection, target, _given(fresh.join(names, on="transmitter_key", how="left")))
            connection.execute(
                "update platform.partition_versions set version = version + 1 where collectioncode = %s and year = %s",
                [code, int(year)],
            )
            key, rows = key + fresh.height, rows + fresh.height
            receivers |= set(fresh["receiver_key"])
    connection.execute(
        "insert into platform.submissions (submission_key, node, collectioncode, kind, file_name, sha256, bytes, stored_path, state,"
        " loaded_at, raw_rows, loaded_rows, duplicate_rows, refused_rows, waiting_rows) values ('third', 'OTN', 'P000', 'detections',"
        " '3.csv', '3', 0, '', 'loaded', %s, %s, %s, 0, 0, 0)",
        [LOADED, rows, rows],
    )
    return f"{rows:,} new detections of {len(receivers)} receivers"
