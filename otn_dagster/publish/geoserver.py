"""The ``geoserver`` summaries: tables behind the network's map layers.

Belongs here: the rows of the tables of schema ``geoserver``. Does not belong here: writing them (``writing.py``).

Source: columns of OTN's public layers (stations_receivers as in hfx_deployments of glatos, project_metadata,
otn_resources_metadata_points, animals) and of its moorings_receivers export.
"""

import polars as pl

from otn_dagster.publish.discovery import all_animals, published_deployments, total_records
from otn_dagster.telemetry.push.extracts import Context


def tables(context: Context) -> dict[str, pl.DataFrame]:
    """All tables of the schema, by name."""
    return {
        "stations_receivers": stations_receivers(context),
        "moorings_receivers": moorings_receivers(context),
        "otn_resources_metadata_points": resources_metadata_points(context),
        "project_metadata": project_metadata(context),
        "animals": all_animals(context),
    }


def stations_receivers(context: Context) -> pl.DataFrame:
    """One row a deployment, as ``glatos::read_otn_deployments`` reads it."""
    return (
        published_deployments(context)
        .sort("collectioncode", "station", "start_ms")
        .select(
            "collectioncode",
            "seriescode",
            "ocean",
            pl.col("station").alias("station_name"),
            pl.lit("acoustic").alias("station_type"),
            pl.col("latitude").alias("stn_lat"),
            pl.col("longitude").alias("stn_long"),
            "stationstatus",
            "locality",
            pl.col("rcv_model_no").alias("model"),
            pl.lit("rcvr").alias("instrumenttype"),
            "deploy_date",
            "last_download",
            "recovery_date",
            "downloads",
            pl.lit(None, pl.String).alias("off_set"),
        )
    )


def moorings_receivers(context: Context) -> pl.DataFrame:
    """One row a deployment, with its catalog number."""
    return (
        published_deployments(context)
        .sort("collectioncode", "rcvrcatnumber")
        .select(
            pl.col("stationstatus").alias("station_status"),
            "collectioncode",
            pl.col("station").alias("station_name"),
            pl.col("station").alias("rcvr_location"),
            pl.col("longitude").alias("deploy_long"),
            pl.col("latitude").alias("deploy_lat"),
            "rcvrcatnumber",
            pl.col("rcv_serial_no").alias("rcvrserial"),
            pl.col("recover_ind").alias("rcvrstatus"),
            pl.col("rcv_model_no").alias("instrument"),
            pl.lit("rcvr").alias("astype"),
            "deploy_date",
            pl.col("last_download").alias("download_date"),
            "recovery_date",
            "downloads",
            pl.lit(None, pl.String).alias("off_set"),
        )
    )


def resources_metadata_points(context: Context) -> pl.DataFrame:
    """One point a project, in the middle of its box."""
    projects = context.projects.join(total_records(context), on="collectioncode", how="left").sort("collectioncode")
    return projects.select(
        "collectioncode",
        pl.col("full_code").alias("report"),
        "resource_full_name",
        "ocean",
        "seriescode",
        "status",
        "collaborationtype",
        pl.col("totalrecords").fill_null(0),
        pl.col("full_code").alias("id"),
        ((pl.col("westbl") + pl.col("eastbl")) / 2).alias("longitude"),
        ((pl.col("southbl") + pl.col("northbl")) / 2).alias("latitude"),
    )


def project_metadata(context: Context) -> pl.DataFrame:
    """One row a project, with all that its form says."""
    projects = context.projects.sort("collectioncode")
    plain = "seriescode collaborationtype shortname longname citation abstract institutioncode ocean country state local_area locality"
    box = ["westbl", "eastbl", "southbl", "northbl"]
    return projects.select(
        "collectioncode",
        pl.col("full_code").alias("id"),
        *plain.split(),
        *box,
        "status",
        pl.lit("CC-BY 4.0").alias("usage"),
        "website",
        "sdate",
        "edate",
        "node",
        pl.col("node").alias("database"),
        pl.lit(None, pl.String).alias("db_location"),
        pl.col("node").alias("datacentre"),
    )
