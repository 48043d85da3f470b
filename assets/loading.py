"""The loading path: one chain of assets for each kind of file, one partition a submission.

No logic lives here: which steps a kind has, and what each says, is in ``otn_dagster.telemetry.kinds``; each asset takes a submission,
runs its step and reports.
"""

from typing import Any

import dagster as dg

from assets.reporting import OWNERS, metadata_of
from otn_dagster.orchestration import partitions
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry.kinds import KINDS, Kind, Stage
from otn_dagster.telemetry.loading import steps
from otn_dagster.telemetry.loading.steps import StepReport

COMMON: dict[str, Any] = {"group_name": "loading", "owners": OWNERS}
WRITTEN_OUT = {"otn_resources", "otn_transmitters"}
# What else a step reads, of all files of another kind: the lineage is one picture from a file to an extract.
ALSO_READS = {
    "raw_detections": ["live_submissions"],
    "otn_detections": ["moorings", "time_drift_factors"],
    "otn_transmitters": ["c_vemco_tags"],
}


def _also(asset: str) -> list[dg.AssetDep]:
    return [dg.AssetDep(other, partition_mapping=dg.AllPartitionMapping()) for other in ALSO_READS.get(asset, [])]


def _asset(kind: Kind, place: int, stage: Stage) -> Any:
    before = stage.after or (kind.stages[place - 1].asset if place else None)

    @dg.asset(
        **COMMON,
        name=stage.asset,
        partitions_def=partitions.submissions[kind.name],
        kinds=set(stage.storage),
        deps=[*([before] if before else []), *_also(stage.asset)],
        description=stage.says,
    )
    def load(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
        with database.loading(context) as step:
            report = stage.load(*step)
        assert isinstance(report, StepReport)
        return dg.MaterializeResult(metadata=metadata_of(report))

    return load


chains = [
    _asset(kind, place, stage)
    for kind in KINDS.values()
    for place, stage in enumerate(kind.stages)
    if stage.asset not in WRITTEN_OUT
]
PROJECT, TRANSMITTERS = KINDS["project"].stages[1], KINDS["tags"].stages[2]


@dg.asset(
    **COMMON,
    partitions_def=partitions.submissions["project"],
    kinds=set(PROJECT.storage),
    deps=["raw_project"],
    description=PROJECT.says,
)
def otn_resources(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Write the project; it is a partition of pushes from now on."""
    with database.loading(context) as step:
        report = steps.otn_resources(*step)
    context.instance.add_dynamic_partitions("projects", [step[2].collectioncode])
    return dg.MaterializeResult(metadata=metadata_of(report))


@dg.multi_asset(
    name="otn_animals_and_transmitters",
    specs=[
        dg.AssetSpec(
            "otn_animals",
            **COMMON,
            deps=["tag_cache"],
            kinds={"postgres"},
            description="Tagged animals of the project, inherited into `obis.otn_animals`.",
        ),
        dg.AssetSpec(
            "otn_transmitters",
            **COMMON,
            deps=["tag_cache", *_also("otn_transmitters")],
            kinds={"postgres"},
            description=TRANSMITTERS.says,
        ),
    ],
    partitions_def=partitions.submissions["tags"],
)
def otn_animals_and_transmitters(context: dg.AssetExecutionContext, database: NodeDatabase):
    """Merge both in one transaction."""
    with database.loading(context) as step:
        animals, transmitters = steps.otn_animals_and_transmitters(*step)
    yield dg.MaterializeResult(asset_key="otn_animals", metadata=metadata_of(animals))
    yield dg.MaterializeResult(asset_key="otn_transmitters", metadata=metadata_of(transmitters))
