"""What is known about all streams: news, annotations, metadata, the catalog; and how old versions go.

No logic lives here: each asset takes the streams, calls one function and reports.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg

from otn_dagster.orchestration.checks import result, specs
from otn_dagster.orchestration.partitions import push_dates
from otn_dagster.orchestration.partitions import streams as stream_keys
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import Lake, NodeDatabase, Streams
from otn_dagster.publish import ocean
from otn_dagster.streams import annotations as annotation_table
from otn_dagster.streams import catalog, inventory, news, retention, tables
from otn_dagster.streams.sources.base import SourceUnavailable
from otn_dagster.streams.sources.ooinet import OOINet

COMMON: dict[str, Any] = {"group_name": "streams", "owners": OWNERS}


@dg.asset(
    **COMMON,
    kinds={"postgres"},
    description="One cheap call to the source of each enabled stream; those that have something new are asked for.",
    check_specs=specs(news.CHECKS, "stream_news"),
)
def stream_news(context: dg.AssetExecutionContext, streams: Streams):
    """Look at all streams; one that fails never stops the rest."""
    found = news.look(streams.harvester())
    context.instance.add_dynamic_partitions(stream_keys.name or "", [one.stream for one in found])
    for one in found:
        if one.request:
            request = {"what": one.what, "request": one.request}
            context.log_event(dg.AssetMaterialization("stream_request", partition=one.stream, metadata=request))
    yield from (result(outcome, "stream_news") for outcome in news.outcomes(found))
    listing = [vars(one) for one in found]
    yield dg.MaterializeResult(
        metadata={"streams": len(found), **({"news": markdown_table(listing)} if listing else {})}
    )


@dg.asset(
    **COMMON,
    kinds={"postgres", "parquet"},
    description="What operators say about instruments, with every earlier version. An instrument that fails keeps what it had.",
    check_specs=specs([annotation_table.EVERY_INSTRUMENT_ANSWERED], "annotations"),
)
def annotations(streams: Streams):
    """Bring the table of annotations up to date."""
    harvester = streams.harvester()
    ooinet = OOINet(harvester.streams.ooinet_url)
    refdes = [s.instrument for s in harvester.streams.streams.values() if s.enabled and s.source.kind == "ooinet"]
    with harvester.connect() as connection:
        found = annotation_table.harvest(connection, refdes, ooinet.annotations, dt.datetime.now(dt.UTC))
        table = annotation_table.table(connection)
    path = tables.write_table(table, streams.described / "annotations.parquet")
    yield result(annotation_table.outcome(found), "annotations")
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.current, "new": found.new, "changed": found.changed, "gone": found.gone,
            "table": dg.MetadataValue.path(str(path)),
        }
    )  # fmt: skip


@dg.asset(
    **COMMON,
    kinds={"parquet"},
    description="OOINet's inventory, streams and parameters, and OOI's global ranges, as Parquet tables.",
)
def stream_metadata(streams: Streams) -> dg.MaterializeResult:
    """Replace each table whole; nothing is replaced by nothing."""
    shared = streams.harvester().streams
    ooinet, folder = OOINet(shared.ooinet_url), streams.described / "metadata"
    try:
        m2m = inventory.m2m_inventory(ooinet.inventory())
        rows, parameters = inventory.streams_and_parameters(m2m, ooinet.stream_row)
    except (SourceUnavailable, inventory.EmptyInventory) as error:
        raise dg.Failure(str(error)) from error
    written = {"m2m_inventory": m2m, "ooi_streams": rows, "ooi_parameters": parameters}
    if shared.qartod_tables:
        written["global_ranges"] = inventory.global_ranges(
            sorted(Path(shared.qartod_tables).glob("**/*global_range*.csv"))
        )
    for name, table in written.items():
        tables.write_table(table, folder / f"{name}.parquet")
    return dg.MaterializeResult(
        metadata={"folder": dg.MetadataValue.path(str(folder)), **{name: t.height for name, t in written.items()}}
    )


@dg.asset(
    **COMMON,
    deps=["stream_store", "stream_zarr"],
    kinds={"stac", "intake"},
    description="What there is to read: STAC, an intake catalog, an index and statistics of all stores.",
)
def stream_catalog(streams: Streams) -> dg.MaterializeResult:
    """Describe the newest version of every store."""
    folder = streams.described / "catalog"
    found = catalog.write(streams.settings, streams.config.streams, folder, dt.datetime.now(dt.UTC))
    listing = [
        {
            "stream": key,
            "rows": s["rows"],
            "MB": round(s["bytes"] / 1e6, 1),
            "from": s["start"][:19],
            "to": s["end"][:19],
        }
        for key, s in found["streams"].items()
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(listing), "rows of all": found["rows"], "bytes of all": found["bytes"],
            "folder": dg.MetadataValue.path(str(folder)), **({"streams": markdown_table(listing)} if listing else {}),
        }
    )  # fmt: skip


@dg.asset(
    **COMMON,
    deps=["stream_store"],
    kinds={"icechunk"},
    description="Removes versions older than the retention period, the chunks only they used, and old downloads.",
)
def stream_retention(streams: Streams) -> dg.MaterializeResult:
    """Collect in every store and view."""
    collected, answers = retention.collect_all(streams.harvester())
    rows = [vars(one) for one in collected]
    return dg.MaterializeResult(
        metadata={"answers removed": answers, **({"stores": markdown_table(rows)} if rows else {})}
    )


@dg.asset(
    group_name="push",
    owners=OWNERS,
    partitions_def=push_dates,
    deps=["push_certificate", dg.AssetDep("stream_store", partition_mapping=dg.AllPartitionMapping())],
    kinds={"parquet"},
    description="Each matched detection with the nearest values in time of the streams near its receiver, pinned to the versions of "
    "the stores that they came from.",
)
def detections_with_ocean(
    context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake, streams: Streams
) -> dg.MaterializeResult:
    """Join; a push that was joined before uses the same versions again."""
    shared = streams.harvester().streams
    stores = {key: (stream, streams.store(key)) for key, stream in shared.streams.items()}
    date = context.partition_key
    joined = ocean.join(
        lake.context(date), stores, lake.folder(date), date, shared.ocean_distance_km, shared.ocean_hours
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": joined.rows,
            "matched detections": joined.detections,
            "of them with a value": joined.with_ocean,
            "versions": dg.MetadataValue.json(joined.pins),
            "file": dg.MetadataValue.path(str(joined.path)),
        }
    )
