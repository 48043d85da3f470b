"""The loading path: one chain of assets for each kind of file, one partition a submission.

No logic lives here: each asset takes a submission, calls one step of ``otn_dagster.telemetry.loading`` and reports.
"""

import dagster as dg

from assets.reporting import OWNERS, metadata_of
from otn_dagster.orchestration import partitions
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry.loading import steps as loading

GROUP = "loading"


def _asset(kind: str, kinds: set[str], deps: list[str] | None = None, description: str = "") -> dict:
    """What all assets of the loading path have in common."""
    return {
        "group_name": GROUP,
        "owners": OWNERS,
        "partitions_def": partitions.submissions[kind],
        "kinds": kinds,
        "deps": deps or [],
        "description": description,
    }


@dg.asset(**_asset("project", {"file"}, description="A project metadata form as it was received."))
def raw_project(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Read the form."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_project(*step)))


@dg.asset(
    **_asset(
        "project",
        {"postgres"},
        ["raw_project"],
        "Projects with their people and species, in `obis.otn_resources`.",
    )
)
def otn_resources(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Write the project; it is a partition of pushes from now on."""
    with database.loading(context) as step:
        report = loading.otn_resources(*step)
    context.instance.add_dynamic_partitions("projects", [step[2].collectioncode])
    return dg.MaterializeResult(metadata=metadata_of(report))


@dg.asset(**_asset("tags", {"file", "postgres"}, description="Rows of a tag sheet as submitted, in `c_tag_meta`."))
def raw_tags(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the rows as submitted."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_tags(*step)))


@dg.asset(**_asset("tags", {"postgres"}, ["raw_tags"], "Typed rows of a tag sheet, animals and transmitters named."))
def tag_cache(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Type the rows."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.tag_cache(*step)))


@dg.multi_asset(
    name="otn_animals_and_transmitters",
    specs=[
        dg.AssetSpec(
            "otn_animals",
            deps=["tag_cache"],
            group_name=GROUP,
            owners=OWNERS,
            kinds={"postgres"},
            description="Tagged animals of the project, inherited into `obis.otn_animals`.",
        ),
        dg.AssetSpec(
            "otn_transmitters",
            deps=["tag_cache"],
            group_name=GROUP,
            owners=OWNERS,
            kinds={"postgres"},
            description="Transmitters on animals with their life, inherited into `obis.moorings`.",
        ),
    ],
    partitions_def=partitions.submissions["tags"],
)
def otn_animals_and_transmitters(context: dg.AssetExecutionContext, database: NodeDatabase):
    """Merge both in one transaction."""
    with database.loading(context) as step:
        animals, transmitters = loading.otn_animals_and_transmitters(*step)
    yield dg.MaterializeResult(asset_key="otn_animals", metadata=metadata_of(animals))
    yield dg.MaterializeResult(asset_key="otn_transmitters", metadata=metadata_of(transmitters))


@dg.asset(
    **_asset(
        "deployments",
        {"file", "postgres"},
        description="Rows of a deployment sheet as submitted, in `c_shortform`.",
    )
)
def raw_deployments(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the rows as submitted."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_deployments(*step)))


@dg.asset(
    **_asset(
        "deployments",
        {"postgres"},
        ["raw_deployments"],
        "Typed rows of a deployment sheet, deployments named.",
    )
)
def rcvr_locations(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Type the rows."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.rcvr_locations(*step)))


@dg.asset(
    **_asset(
        "deployments",
        {"postgres"},
        ["rcvr_locations"],
        "Stations, receivers, their transmitters and downloads, inherited into `obis.moorings`. Detections that waited for "
        "these receivers are promoted.",
    )
)
def moorings(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Merge the deployments."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.moorings(*step)))


@dg.asset(
    **_asset(
        "detections",
        {"file", "parquet"},
        description="A detections export (VUE, Fathom, Thelma) as one immutable Parquet file.",
    )
)
def raw_detections(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the rows as exported."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_detections(*step)))


@dg.asset(
    **_asset(
        "detections",
        {"postgres"},
        ["raw_detections"],
        "Accepted detections, each once and with its det_key, in `detections_YYYY`.",
    )
)
def detections(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Accept what is not loaded yet."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.detections(*step)))


@dg.asset(
    **_asset(
        "detections",
        {"postgres"},
        ["detections"],
        "Detections with corrected time and the deployment that heard them, in `otn_detections_YYYY`, inherited into `obis`.",
    )
)
def otn_detections(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Correct, assign, promote."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.otn_detections(*step)))


@dg.asset(
    **_asset("events", {"file", "parquet"}, description="An events export (VUE, Fathom) as one immutable Parquet file.")
)
def raw_events(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the rows as exported."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_events(*step)))


@dg.asset(
    **_asset(
        "events",
        {"postgres"},
        ["raw_events"],
        "Receiver events, each once; uploads become DOWNLOAD rows of moorings.",
    )
)
def events(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Accept what is not loaded yet."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.events(*step)))


@dg.asset(
    **_asset(
        "events",
        {"postgres"},
        ["events"],
        "How receivers' clocks drifted, piece by piece; detections are corrected by it.",
    )
)
def time_drift_factors(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Work out the drift and apply it."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.time_drift_factors(*step)))


@dg.asset(**_asset("events", {"postgres"}, ["events"], "Which code spaces receivers listened to."))
def receiver_config(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the maps."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.receiver_config(*step)))


@dg.asset(**_asset("vendor", {"file"}, description="A manufacturer's tag specification sheet as it was received."))
def raw_vendor(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Read the sheet."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.raw_vendor(*step)))


@dg.asset(
    **_asset(
        "vendor",
        {"postgres"},
        ["raw_vendor"],
        "Tag life, sensor slope and intercept of every transmitter that manufacturers specified; tags without a life get it.",
    )
)
def c_vemco_tags(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Keep the specifications."""
    with database.loading(context) as step:
        return dg.MaterializeResult(metadata=metadata_of(loading.c_vemco_tags(*step)))
