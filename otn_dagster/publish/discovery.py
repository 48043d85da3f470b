"""The ``discovery`` summaries: what the network's web pages are built from.

Belongs here: the rows of the tables of schema ``discovery``. Does not belong here: writing them (``writing.py``).

Source: columns as in OTN's node database (node manager training, "Important tables", discovery notebooks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Ibis columns have no types that a checker could know.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
import polars as pl

from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.push.extracts import Context

if TYPE_CHECKING:
    import ibis.expr.types as ir

WEEK = "1w"


def tables(context: Context) -> dict[str, pl.DataFrame]:
    """All tables of the schema, by name."""
    return {
        "detection_pre_summary": detection_pre_summary(context),
        "stations_header": stations_header(context),
        "stations_history_rows": stations_history_rows(context),
        "all_animals": all_animals(context),
        "species_list": species_list(context),
        "mstr_resources": mstr_resources(context),
    }


def weekly(matches: ir.Table) -> ir.Table:
    """Detections by deployment, transmitter, tag, outcome and week (from Monday), with count, first and last."""
    heard = matches.filter(matches.deployment_key.notnull())
    day = (heard.time_ms // 86_400_000).cast("int32")
    # 1970-01-01 was a Thursday: three days after a Monday.
    weeks = heard.mutate(week_day=day - (day + 3) % 7)
    key = ["outcome", "tag_key", "transmitter_key", "deployment_key", "week_day"]
    return weeks.group_by(key).aggregate(
        detection_count=weeks.count(), first_ms=weeks.time_ms.min(), last_ms=weeks.time_ms.max()
    )


def detection_pre_summary(context: Context) -> pl.DataFrame:
    """Weekly counts with the names that people know."""
    backend = engine.duckdb()
    matches = backend.read_parquet([str(path) for path in context.matches.buckets])
    counts = weekly(matches).to_polars()
    backend.disconnect()
    kind = (
        pl.when(pl.col("outcome").is_in([rules.MATCHED, rules.MATCHED_OWN]))
        .then(pl.lit("ANIMAL"))
        .when(pl.col("outcome") == rules.SENTINEL)
        .then(pl.when(pl.col("transceiver")).then(pl.lit("transmitter")).otherwise(pl.lit("test")))
        .otherwise(pl.lit("unqualified"))
    )
    station_tags = (
        context.snapshot.table("station_tags").select("transmitter_key").unique().with_columns(transceiver=pl.lit(True))
    )
    joined = (
        counts.join(context.transmitters, on="transmitter_key", how="left")
        .join(context.tags.select("tag_key", "catalognumber", "trackercode"), on="tag_key", how="left")
        .join(
            context.deployments.select("deployment_key", "collectioncode", "rcvrcatnumber", "station"),
            on="deployment_key",
            how="left",
        )
        .join(station_tags, on="transmitter_key", how="left")
    )
    return joined.select(
        "collectioncode",
        "trackercode",
        kind.alias("relationshiptype"),
        pl.col("catalognumber").alias("relatedcatalogitem"),
        pl.from_epoch("week_day", time_unit="d").cast(pl.Datetime("ms")).alias("weekcollected"),
        pl.col("transmitter").alias("fieldnumber"),
        "rcvrcatnumber",
        "station",
        "detection_count",
        pl.from_epoch("first_ms", time_unit="ms").alias("min_detectdate"),
        pl.from_epoch("last_ms", time_unit="ms").alias("max_detectdate"),
    ).sort("collectioncode", "weekcollected", "fieldnumber", "rcvrcatnumber")


def published_deployments(context: Context) -> pl.DataFrame:
    """Deployments of nodes that publish where their stations are, with their project's columns."""
    publish = context.snapshot.manifest["publish_stations"]
    open_nodes = [node for node, allowed in publish.items() if allowed]
    projects = context.projects.filter(pl.col("node").is_in(open_nodes)).select(
        "collectioncode", "node", "full_code", "seriescode", "ocean", "locality"
    )
    times = [
        pl.from_epoch(f"{name}_ms", time_unit="ms").alias(alias)
        for name, alias in (
            ("start", "deploy_date"),
            ("recovered", "recovery_date"),
            ("last_download", "last_download"),
        )
    ]
    return context.deployments.join(projects, on="collectioncode").with_columns(
        *times,
        stationstatus=pl.when(pl.col("recovered_ms").is_null()).then(pl.lit("active")).otherwise(pl.lit("ended")),
    )


def stations_header(context: Context) -> pl.DataFrame:
    """One row a station, where it was last deployed."""
    stations = published_deployments(context).sort("collectioncode", "station", "start_ms")
    return (
        stations.group_by("collectioncode", "station", maintain_order=True)
        .last()
        .select(
            "collectioncode",
            "seriescode",
            "ocean",
            pl.col("station").alias("station_name"),
            pl.lit("acoustic").alias("station_type"),
            "latitude",
            "longitude",
            "stationstatus",
            "locality",
        )
    )


def stations_history_rows(context: Context) -> pl.DataFrame:
    """One row a deployment."""
    return (
        published_deployments(context)
        .sort("collectioncode", "station", "start_ms")
        .select(
            "collectioncode",
            pl.col("station").alias("station_name"),
            pl.col("rcv_model_no").alias("instrument"),
            pl.lit("rcvr").alias("type"),
            "deploy_date",
            "last_download",
            "recovery_date",
            "downloads",
            pl.lit(None, pl.String).alias("off_set"),
        )
    )


def all_animals(context: Context) -> pl.DataFrame:
    """One row an animal."""
    released = pl.from_epoch("release_ms", time_unit="ms")
    animals = context.snapshot.table("animals").sort("collectioncode", "catalognumber")
    return animals.select(
        "collectioncode",
        "catalognumber",
        pl.col("commonname").alias("vernacularname"),
        "scientificname",
        pl.lit(None, pl.Int64).alias("aphiaid"),
        released.alias("datecollected"),
        released.dt.year().alias("yearcollected"),
        "latitude",
        "longitude",
    )


def species_list(context: Context) -> pl.DataFrame:
    """Each species once."""
    animals = context.snapshot.table("animals").drop_nulls("scientificname")
    species = animals.select("scientificname", pl.col("commonname").str.to_lowercase())
    return species.group_by("scientificname").agg(pl.col("commonname").min()).sort("scientificname")


def total_records(context: Context) -> pl.DataFrame:
    """Detections and animals of each project: collectioncode, totalrecords."""
    heard = context.heard.join(context.deployments.select("deployment_key", "collectioncode"), on="deployment_key")
    heard = heard.group_by("collectioncode").agg(n=pl.col("detections").sum())
    animals = context.snapshot.table("animals").group_by("collectioncode").len("n")
    return pl.concat([heard, animals]).group_by("collectioncode").agg(totalrecords=pl.col("n").sum())


def mstr_resources(context: Context) -> pl.DataFrame:
    """One row a project, of all nodes."""
    projects = context.projects.join(total_records(context), on="collectioncode", how="left").sort("collectioncode")
    columns = "collectioncode node projecttype resource_full_name ocean seriescode status collaborationtype"
    return projects.select(*columns.split(), pl.col("totalrecords").fill_null(0))
