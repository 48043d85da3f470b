"""Ocean streams: asked for, ingested, published, flagged, compared with their source; by stream.

No logic lives here: each asset takes the streams, calls one function and reports.
"""

import datetime as dt
from typing import Any

import dagster as dg

from otn_dagster import figures
from otn_dagster.orchestration.checks import result, specs
from otn_dagster.orchestration.partitions import streams as stream_keys
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import Streams, actor_of
from otn_dagster.streams import (
    asking,
    gaps,
    gates,
    ingesting,
    overview,
    pictures,
    published,
    qartod_tables,
    qc,
    requests,
    tables,
)
from otn_dagster.streams.gates import Gate
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.sources.base import NothingThere, SourceUnavailable

PER_STREAM: dict[str, Any] = {"group_name": "streams", "owners": OWNERS, "partitions_def": stream_keys}


class Ask(dg.Config):
    """How a stream is asked for."""

    refresh: bool = False
    force: bool = False


@dg.asset(
    **PER_STREAM,
    kinds={"postgres"},
    description="Asks a stream's source for what is new, or with `refresh` for everything, and returns at once. Whatever was under "
    "way is given up with `force`. A sensor looks for the answer and starts the ingestion.",
)
def stream_request(context: dg.AssetExecutionContext, config: Ask, streams: Streams) -> dg.MaterializeResult:
    """One request record; at most one of a stream is active."""
    harvester, key = streams.harvester(), context.partition_key
    try:
        asked = asking.ask(
            harvester, key, "refresh" if config.refresh else "append", config.force, by=f"run {context.run.run_id[:8]}"
        )
    except (SourceUnavailable, NothingThere, KeyError) as error:
        raise dg.Failure(f"{key}: {error}") from error
    streams.follow(key, actor_of(context))
    return dg.MaterializeResult(metadata={"what": asked.what, **_requests(harvester, key)})


def _requests(harvester: Harvester, key: str) -> dict[str, Any]:
    with harvester.connect() as connection:
        newest = requests.newest(connection, key, 10)
        history = requests.history(connection, newest[0].request_no) if newest else []
    if not newest:
        return {}
    steps = [{"at": at, "state": state, "what": what} for at, state, what in history]
    return {
        "requests": markdown_table([requests.explain(request) for request in newest]),
        "history of the newest": markdown_table(steps),
    }


@dg.asset(
    **PER_STREAM,
    deps=[stream_request],
    kinds={"icechunk", "zarr"},
    output_required=False,
    description="The record of a stream: an Icechunk repository, one commit for each accepted window, a refresh in one step.",
    check_specs=specs(gates.CHECKS, "stream_store"),
)
def stream_store(context: dg.AssetExecutionContext, streams: Streams):
    """Ingest whatever is complete; without anything complete, say how the store stands."""
    harvester, key = streams.harvester(), context.partition_key
    with harvester.connect() as connection:
        active = requests.active(connection, key)
    found: list[Gate] = []
    if active:
        progress = ingesting.bring_in(harvester, active[0].request_no)
        streams.follow(key, actor_of(context))
        context.log.info(progress.what)
        found = progress.gates
        if progress.request.held or progress.request.state == "failed":
            yield from (result(outcome, "stream_store", stream=key) for outcome in gates.outcomes(found))
            why = (progress.request.held or {}).get("why") or progress.what
            raise dg.Failure(f"{key}: {why}", metadata=_requests(harvester, key), allow_retries=False)
    yield from (result(outcome, "stream_store", stream=key) for outcome in gates.outcomes(found))
    stands = overview.overview(streams.store(key))
    if stands is None:
        context.log.info("there are no data yet; the sensor goes on when the source's answer is complete")
        return
    group = streams.store(key).read(stands.commit.snapshot)
    columns = [dg.TableColumn(name, dtype, description=units or None) for name, dtype, units in stands.variables]
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(stands.commit.snapshot),
        metadata={
            "dagster/row_count": stands.rows,
            "dagster/column_schema": dg.TableSchema(columns),
            "availability": dg.MetadataValue.md(figures.markdown(pictures.availability(group, key), "availability")),
            **stands.figures(),
            **_requests(harvester, key),
            "store": streams.store(key).location.url,
        },
    )


@dg.asset(
    **PER_STREAM,
    deps=[stream_store],
    kinds={"zarr"},
    description="The same as plain zarr, for readers that have only xarray: one URL, no mixture of versions, its commit shown.",
)
def stream_zarr(context: dg.AssetExecutionContext, streams: Streams) -> dg.MaterializeResult:
    """Publish the newest version, where the stream's configuration says so."""
    harvester, key = streams.harvester(), context.partition_key
    view, store = streams.view(key), streams.store(key)
    if not harvester.streams.stream(key).publish:
        return dg.MaterializeResult(metadata={"how": "switched off in the stream's configuration"})
    grace = dt.timedelta(days=harvester.streams.retention.grace_days)
    waits = ""
    try:
        now = published.publish(store, view, grace)
    except published.TooSoon as error:
        now, waits = published.published(view), str(error)
    assert now is not None
    return dg.MaterializeResult(
        data_version=dg.DataVersion(now.commit),
        metadata={
            "dagster/row_count": now.rows,
            "url": view.url,
            "commit": now.commit,
            "published": now.at,
            "how": now.how,
            "chunks copied": now.copied,
            "waits": waits or "no",
            "read it": dg.MetadataValue.md(f"```python\nimport xarray as xr\nds = xr.open_zarr({view.url!r})\n```"),
        },
    )


@dg.asset(
    **PER_STREAM,
    deps=[stream_store],
    kinds={"icechunk", "qartod"},
    description="QARTOD flags of the configured variables, beside the stream; the same however the stream was cut.",
)
def stream_qc(context: dg.AssetExecutionContext, streams: Streams) -> dg.MaterializeResult:
    """Flag what changed, with the halo that each test needs."""
    harvester, key = streams.harvester(), context.partition_key
    stream, store, flags = harvester.streams.stream(key), streams.store(key), streams.flags(key)
    found = qc.flag(store, flags, qartod_tables.limits_for(harvester.streams, stream), stream.sampling_seconds)
    if found is None:
        return dg.MaterializeResult(metadata={"flags": "no limits are configured for variables of this stream"})
    counts = [
        {"variable": name, **{word: by_flag.get(str(flag), 0) for flag, word in pictures.FLAG_NAMES.items()}}
        for name, by_flag in found.counts.items()
    ]
    data, flagged = store.read(found.of_commit), flags.read()
    plots = {
        name: dg.MetadataValue.md(figures.markdown(pictures.last_days(data, flagged, name), name))
        for name in found.counts
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.rows,
            "rows computed": found.computed,
            "of commit": found.of_commit,
            "flags": markdown_table(counts),
            **plots,
        }
    )


@dg.asset(
    **PER_STREAM,
    deps=[stream_store],
    kinds={"parquet"},
    description="What is missing: the source's own counts by time bin, and its deployments, against what is stored. Windows that lack "
    "rows are asked for again, within limits.",
    check_specs=specs([gaps.NOTHING_MISSING], "stream_gaps"),
)
def stream_gaps(context: dg.AssetExecutionContext, streams: Streams):
    """Compare, write the table, ask again."""
    harvester, key = streams.harvester(), context.partition_key
    stream, store, source = harvester.streams.stream(key), streams.store(key), harvester.source(key)
    if not store.exists():
        raise dg.Failure(f"{key} has no data yet; materialize stream_request", allow_retries=False)
    group = store.read()
    try:
        found = gaps.find(
            group, source.bins(stream), source.deployments(stream), stream.tolerances.least_share_of_announced
        )
        asked = gaps.ask_again(harvester, stream, found)
    except SourceUnavailable as error:
        raise dg.Failure(f"{key}: {error}") from error
    path = tables.write_table(found.table, streams.described / "gaps" / f"{key}.parquet")
    yield result(gaps.outcome(found), "stream_gaps")
    picture = pictures.availability(group, f"{key}: stored, and missing in red", found.table)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.table.height,
            "missing rows": found.missing,
            "windows that lack rows": len(found.windows),
            "asked again": asked.what if asked else "nothing",
            "table": dg.MetadataValue.path(str(path)),
            "availability": dg.MetadataValue.md(figures.markdown(picture, "gaps")),
        }
    )
