"""The summaries that other servers read: one asset a schema, by push date.

No logic lives here: rows come from ``otn_dagster.publish``.
"""

from types import ModuleType

import dagster as dg

from otn_dagster.orchestration.partitions import push_dates
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import Lake, NodeDatabase
from otn_dagster.publish import discovery as discovery_rows
from otn_dagster.publish import erddap as erddap_rows
from otn_dagster.publish import geoserver as geoserver_rows
from otn_dagster.publish.writing import write_schema

COMMON = {
    "group_name": "summaries",
    "owners": OWNERS,
    "partitions_def": push_dates,
    "deps": ["matches", "push_certificate"],
}


def _write(date: str, schema: str, rows: ModuleType, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    tables = rows.tables(lake.context(date))
    with database.connect() as connection:
        written = write_schema(connection, schema, tables, date, lake.snapshot(date).rehearsal, lake.folder(date))
    listing = [
        {"table": f"{schema}.{name}", "rows": count, "columns": columns}
        for name, (count, columns) in written.tables.items()
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row["rows"] for row in listing),
            "schema replaced": written.replaced,
            "tables": markdown_table(listing),
        }
    )


@dg.asset(
    **COMMON,
    kinds={"postgres", "parquet"},
    description="Schema `discovery`: what the network's web pages are built from.",
)
def discovery(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Weekly detection counts, stations, animals, species, projects."""
    return _write(context.partition_key, "discovery", discovery_rows, database, lake)


@dg.asset(
    **COMMON,
    kinds={"postgres", "parquet"},
    description="Schema `erddap`: the otn_aat tables that ERDDAP serves.",
)
def erddap(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Animals, receivers, tag releases, detections, recoveries, platforms, projects."""
    return _write(context.partition_key, "erddap", erddap_rows, database, lake)


@dg.asset(
    **COMMON,
    kinds={"postgres", "parquet"},
    description="Schema `geoserver`: tables behind the network's map layers.",
)
def geoserver(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Stations with receivers, projects as points and boxes, animals."""
    return _write(context.partition_key, "geoserver", geoserver_rows, database, lake)
