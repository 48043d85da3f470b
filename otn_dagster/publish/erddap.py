"""The ``erddap`` summaries: the tables that the network's ERDDAP serves.

Belongs here: the rows of the tables of schema ``erddap``. Does not belong here: writing them (``writing.py``).

Source: columns of OTN's otn_aat_* datasets. ``*_guid`` is datacenter, project and id joined. Positions of stations whose
node does not publish them are left empty.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path

import polars as pl

from otn_dagster.publish.discovery import published_deployments
from otn_dagster.publish.parts import Part
from otn_dagster.publish.writing import Table
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.extracts import Context

EMPTY = pl.lit(None, pl.String)
KEYS = [
    "deployment_key",
    "tag_key",
    "transmitter_key",
    "project_key",
    "tracker_key",
]  # of matches, that words stand for
ANIMAL_COLUMNS = {"stock": "stock", "length": "length", "lengthtype": "length_type", "weight": "weight"}


def tables(context: Context) -> dict[str, Table]:
    """All tables of the schema, by name; the detections part by part."""
    return {
        "otn_aat_animals": animals(context),
        "otn_aat_receivers": receivers(context),
        "otn_aat_tag_releases": tag_releases(context),
        "otn_aat_detections": detections(context),
        "recover_offload_details": recover_offload_details(context),
        "manmade_platform": manmade_platform(context),
        "project_attributes": project_attributes(context),
        "datacenter_attributes": datacenter_attributes(context),
    }


def _guid(*parts: str) -> pl.Expr:
    return pl.concat_str([pl.col(part) for part in parts], separator="-")


def _nodes(context: Context) -> pl.DataFrame:
    return context.projects.select("collectioncode", "node")


def _time(name: str) -> pl.Expr:
    return pl.from_epoch(name, time_unit="ms")


def animals(context: Context) -> pl.DataFrame:
    """One row an animal."""
    rows = (
        context.snapshot.table("animals")
        .join(_nodes(context), on="collectioncode")
        .sort("collectioncode", "catalognumber")
    )
    return rows.select(
        pl.col("collectioncode").alias("animal_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("catalognumber").alias("animal_reference_id"),
        _guid("node", "collectioncode", "catalognumber").alias("animal_guid"),
        pl.col("commonname").alias("vernacularname"),
        "scientificname",
        EMPTY.alias("taxonrank"),
        pl.lit(None, pl.Int64).alias("aphiaid"),
        pl.lit(None, pl.Int64).alias("tsn"),
        pl.col("wild_ind").alias("animal_origin"),
        *[pl.col(old).alias(new) for old, new in ANIMAL_COLUMNS.items()],
        pl.col("lifestage").alias("life_stage"),
        "age",
        "sex",
    )


def receivers(context: Context) -> pl.DataFrame:
    """One row a deployment."""
    rows = published_deployments(context).sort("collectioncode", "rcvrcatnumber")
    return rows.select(
        pl.col("collectioncode").alias("deployment_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("rcvrcatnumber").alias("deployment_id"),
        _guid("node", "collectioncode", "rcvrcatnumber").alias("deployment_guid"),
        EMPTY.alias("receiver_manufacturer"),
        pl.col("rcv_model_no").alias("receiver_model"),
        EMPTY.alias("frequencies_monitored"),
        EMPTY.alias("receiver_coding_scheme"),
        pl.col("rcv_serial_no").alias("receiver_serial_number"),
        "latitude",
        "longitude",
        pl.col("deploy_date").alias("time"),
        pl.col("recovery_date").alias("recovery_datetime_utc"),
        pl.col("collectioncode").alias("array_name"),
        pl.lit("STATION").alias("receiver_reference_type"),
        pl.col("station").alias("receiver_reference_id"),
        "bottom_depth",
        pl.col("receiver_depth").alias("depth"),
        pl.col("notes").alias("deployment_comments"),
        EMPTY.alias("deployed_by"),
        EMPTY.alias("expected_receiver_life"),
    )


def tag_releases(context: Context) -> pl.DataFrame:
    """One row a transmitter on an animal."""
    rows = context.tags.join(_nodes(context), left_on="trackercode", right_on="collectioncode")
    rows = rows.with_columns(device=_guid("catalognumber", "transmitter")).sort("trackercode", "device")
    return rows.select(
        pl.col("trackercode").alias("release_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("device").alias("tag_device_id"),
        _guid("node", "trackercode", "device").alias("release_guid"),
        pl.col("catalognumber").alias("release_reference_id"),
        pl.lit("ANIMAL").alias("release_reference_type"),
        pl.col("release_latitude").alias("latitude"),
        pl.col("release_longitude").alias("longitude"),
        _time("release_ms").alias("time"),
        _time("end_ms").alias("expected_enddate"),
        EMPTY.alias("manufacturer"),
        "tag_model",
        pl.col("serialnumber").alias("tag_serial_number"),
        pl.col("transmitter").str.extract(r"^A(\d+)").alias("tag_frequency"),
        EMPTY.alias("tag_coding_system"),
        pl.col("transmitter").alias("transmitted_id"),
        pl.col("transmitter").alias("transmittername"),
        pl.lit("ACOUSTIC").alias("transmitter_type"),
        EMPTY.alias("tag_programming_id"),
    )


def detections(context: Context) -> list[Part]:
    """One row a detection that belongs to one animal, a part a bucket of receivers; the policy of the tag's network governs it."""
    return [_part(context, bucket) for bucket in context.matches.buckets]


def _part(context: Context, bucket: Path) -> Part:
    matched = pl.scan_parquet(bucket).filter(pl.col("outcome").is_in([rules.MATCHED, rules.MATCHED_OWN]))
    words = _words(context, matched)
    made = hashlib.sha256(
        f"{version('otn-dagster')} {context.matches.manifest['files'][bucket.name]['sha256']}".encode()
    )
    for _, frame in sorted(words.items()):
        made.update(frame.write_csv().encode())
    return Part(bucket.stem, made.hexdigest(), lambda: _detections(context.in_words(matched).collect(), words))


def _words(context: Context, matched: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """What the keys in some matches stand for: tags, transmitters, deployments with the places that are published, projects."""
    found = matched.select(pl.col(*KEYS).unique().implode()).collect(engine="streaming")
    used = {name: found[name].explode().drop_nulls() for name in KEYS}
    shown = published_deployments(context).select("deployment_key", "latitude", "longitude")
    deployments = context.deployments.select("deployment_key", "rcvrcatnumber", "rcv_serial_no")
    projects = pl.concat([used["project_key"], used["tracker_key"]])
    of_tables = {
        "deployment_key": deployments.join(shown, on="deployment_key", how="left"),
        "tag_key": context.tags.select("tag_key", "catalognumber"),
        "transmitter_key": context.transmitters.select("transmitter_key", "transmitter"),
        "project_key": context.projects.select("project_key", "collectioncode", "node"),
    }
    return {
        key: table.filter(pl.col(key).is_in((projects if key == "project_key" else used[key]).implode())).sort(key)
        for key, table in of_tables.items()
    }


def _detections(matched: pl.DataFrame, words: dict[str, pl.DataFrame]) -> pl.DataFrame:
    rows = (
        matched.join(words["transmitter_key"], on="transmitter_key")
        .join(words["tag_key"], on="tag_key")
        .join(words["deployment_key"], on="deployment_key")
        .join(words["project_key"].select("project_key", "node"), on="project_key")
        .with_columns(detection_id=pl.format("{}-{}", "transmitter", "det_key"))
        .sort("collectioncode", "det_key")
    )
    return rows.select(
        pl.col("collectioncode").alias("detection_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        "detection_id",
        _guid("node", "collectioncode", "detection_id").alias("detection_guid"),
        _time("time_ms").alias("time"),
        "latitude",
        "longitude",
        pl.col("trackercode").alias("tracker_reference"),
        pl.col("catalognumber").alias("detection_reference_id"),
        pl.lit("ANIMAL").alias("detection_reference_type"),
        pl.col("transmitter").str.extract(r"^([^-]+-[^-]+)").alias("transmitter_codespace"),
        pl.col("transmitter").str.extract(r"([^-]+)$").alias("transmitter_id"),
        pl.col("transmitter").alias("detection_transmittername"),
        pl.col("rcv_serial_no").alias("detection_serial_number"),
        pl.col("sensor_value").alias("sensor_data"),
        pl.when(pl.col("sensor_value").is_not_null()).then(pl.lit("ADC")).alias("sensor_data_units"),
        pl.col("rcvrcatnumber").alias("deployment_id"),
        pl.when(pl.col("min_lag") <= rules.FALSE_DETECTION_SECONDS)
        .then(pl.lit("passed"))
        .otherwise(pl.lit("possible false detection"))
        .alias("detection_quality"),
        pl.lit("deployment").alias("position_data_source"),
    )


def recover_offload_details(context: Context) -> pl.DataFrame:
    """One row a deployment that was recovered or offloaded."""
    rows = published_deployments(context).filter(
        pl.col("recovered_ms").is_not_null() | pl.col("last_download_ms").is_not_null()
    )
    rows = rows.sort("collectioncode", "rcvrcatnumber")
    return rows.select(
        pl.col("collectioncode").alias("recovery_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("rcvrcatnumber").alias("recovery_id"),
        pl.col("rcvrcatnumber").alias("deployment_id"),
        _guid("node", "collectioncode", "rcvrcatnumber").alias("recovery_guid"),
        pl.col("latitude").alias("recovery_latitude"),
        pl.col("longitude").alias("recovery_longitude"),
        pl.col("recovery_date").alias("recovery_datetime_utc"),
        pl.col("recover_ind").alias("recovery_outcome"),
        pl.when(pl.col("downloads") > 0).then(pl.lit("y")).otherwise(pl.lit("n")).alias("data_offloaded"),
        pl.col("last_download").alias("offload_datetime_utc"),
        EMPTY.alias("log_filenames"),
        pl.col("notes").alias("recovery_comments"),
    )


def manmade_platform(context: Context) -> pl.DataFrame:
    """One row a station, as the platform that carries receivers."""
    stations = published_deployments(context).sort("collectioncode", "station", "start_ms")
    rows = stations.group_by("collectioncode", "station", maintain_order=True).last()
    return rows.select(
        pl.col("collectioncode").alias("platform_project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("station").alias("platform_reference_id"),
        _guid("node", "collectioncode", "station").alias("platform_guid"),
        pl.lit("mooring").alias("platform_type"),
        pl.col("bottom_depth").alias("platform_depth"),
        pl.col("station").alias("platform_name"),
        "latitude",
        "longitude",
    )


def project_attributes(context: Context) -> pl.DataFrame:
    """One row a project."""
    people = context.snapshot.table("contacts").filter(pl.col("role") == "Principal Investigator")
    leaders = people.group_by("collectioncode", maintain_order=True).first()
    rows = context.projects.join(leaders, on="collectioncode", how="left").sort("collectioncode")
    depths = context.deployments.group_by("collectioncode").agg(
        vertical_min=pl.col("receiver_depth").min(), vertical_max=pl.col("receiver_depth").max()
    )
    return rows.join(depths, on="collectioncode", how="left").select(
        pl.col("collectioncode").alias("project_reference"),
        pl.col("node").alias("datacenter_reference"),
        pl.col("resource_full_name").alias("project_name"),
        "abstract",
        "citation",
        pl.col("name").alias("pi"),
        pl.col("affiliation").alias("pi_organization"),
        EMPTY.alias("pi_contact"),
        pl.col("website").alias("infourl"),
        pl.lit("acoustic telemetry, animal tracking").alias("keywords"),
        EMPTY.alias("keywords_vocabulary"),
        pl.lit("CC-BY 4.0").alias("license"),
        pl.lit("EPSG:4326").alias("datum"),
        pl.col("westbl").alias("geospatial_lon_min"),
        pl.col("eastbl").alias("geospatial_lon_max"),
        pl.col("southbl").alias("geospatial_lat_min"),
        pl.col("northbl").alias("geospatial_lat_max"),
        "vertical_min",
        "vertical_max",
    )


def datacenter_attributes(context: Context) -> pl.DataFrame:
    """One row a node that has projects."""
    return context.projects.select(
        pl.col("node").alias("datacenter_reference"),
        pl.col("node").alias("datacenter_name"),
        EMPTY.alias("infourl"),
    ).unique(maintain_order=True)
