"""The loading path: one chain of assets for each kind of file, one partition a submission, the field's checks on them.

No logic lives here: which stages a kind has, and what each says, is in ``otn_dagster.telemetry.kinds``, which checks in
``otn_dagster.telemetry.checks``; how a run goes through its files is in ``otn_dagster.orchestration.loading``.
"""

from collections.abc import Iterator

import dagster as dg

from otn_dagster.orchestration import loading, partitions
from otn_dagster.orchestration.checks import specs
from otn_dagster.orchestration.reporting import OWNERS
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry.checks import catalog
from otn_dagster.telemetry.kinds import KINDS, Kind

# What else a step reads, of all files of another kind: the lineage is one picture from a file to an extract.
ALSO_READS = {
    "raw_detections": ["live_submissions"],
    "otn_detections": ["moorings", "time_drift_factors"],
    "otn_transmitters": ["c_vemco_tags"],
}


def _specs(kind: Kind) -> Iterator[dg.AssetSpec]:
    before = None
    for stage in kind.stages:
        for asset in stage.assets:
            also = [dg.AssetDep(o, partition_mapping=dg.AllPartitionMapping()) for o in ALSO_READS.get(asset, [])]
            yield dg.AssetSpec(
                asset,
                deps=[*filter(None, [stage.after or before]), *also],
                skippable=True,  # of one file it may be made, of another not: the events say which
                group_name="loading",
                owners=OWNERS,
                kinds=set(stage.storage),
                description=stage.says,
            )
        before = stage.asset


def _chain(kind: Kind) -> dg.AssetsDefinition:
    checked = [stage.asset for stage in kind.stages if stage.checked]

    @dg.multi_asset(
        name=f"{kind.name}_files",
        specs=list(_specs(kind)),
        check_specs=[s for a in checked for s in specs(catalog.of_stage(a), a, partitions.submissions[kind.name])],
        partitions_def=partitions.submissions[kind.name],
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def files(context: dg.AssetExecutionContext, database: NodeDatabase) -> Iterator[loading.Event]:
        yield from loading.run(context, database, kind)

    return files


chains = [_chain(kind) for kind in KINDS.values()]
